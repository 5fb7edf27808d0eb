"""What a record is, and how it is decoded, validated and compared. Imports encoding and what is below."""
