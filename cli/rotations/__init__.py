"""What `lab rotate` rotates, one file each with main(options)."""
