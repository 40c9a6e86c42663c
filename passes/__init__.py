"""etir.passes"""
