"""The store on MongoDB, experimental and tested over the wire only: one document for each instance."""
