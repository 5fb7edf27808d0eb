"""Records and domains: declaration, decoding, validation and digests of records. Imports encoding and what is below."""
