"""etir.cli"""
