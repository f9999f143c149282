"""What every figure is drawn with: a page in millimetres, type that fits, the colours."""
