"""What each command does, from a request to a finished result, without the terminal."""
