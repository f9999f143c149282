"""The nets: by name, the old ones and their variants, the demo's, a user's own.

With how each of them wants its pictures, and how one travels to another process.
"""
