"""A library to try prealloc with: `write.write_sample(out)`."""
