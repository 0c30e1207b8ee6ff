"""Images and videos: files, transforms, label maps, drawing."""
