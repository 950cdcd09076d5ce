"""What turns images into features: networks that were trained on ImageNet."""
