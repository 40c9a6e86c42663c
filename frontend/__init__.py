"""etir.frontend"""
