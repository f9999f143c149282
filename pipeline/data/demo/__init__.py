"""The demo's generated picture set, and the weights of its net."""
