"""etir.ir"""
