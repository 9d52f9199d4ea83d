"""`worldsim report`: kept results as tables, curves and one HTML page. Torch-free."""
