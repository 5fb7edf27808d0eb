"""Statistics of a store's records. Imports all stores."""
