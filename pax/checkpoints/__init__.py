"""What is saved and read back: train states and policies."""
