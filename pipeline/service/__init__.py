"""The live service: what a picture that somebody shows excites, over HTTP. It knows no Ray."""
