"""What is downloaded, fetched or built on the controller, verified and cached."""
