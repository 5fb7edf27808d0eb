"""Operations on the files of a data directory. Imports migration and the layers below."""
