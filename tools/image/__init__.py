"""The image after its build (tools/build_image.sh): what it weighs, what is in it, and whether it works."""
