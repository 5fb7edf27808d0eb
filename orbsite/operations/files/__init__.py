"""Operations on the files of a data directory. Imports migration and what is below."""
