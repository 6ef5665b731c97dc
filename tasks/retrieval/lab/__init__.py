"""The lab of retrieval: drawn garments with titles, and a broad world to pretrain on."""
