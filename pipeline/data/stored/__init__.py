"""What a run holds, read back as the contract has it, or not at all."""
