"""`worldsim report`: result files as tables, curves and one HTML page. Torch-free."""
