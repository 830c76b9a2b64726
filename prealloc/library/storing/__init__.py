"""What the formats that we write share: files beside their place, counts, names, proofs."""
