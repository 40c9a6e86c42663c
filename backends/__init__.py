"""etir.backends"""
