"""The verifier's rules, by what they are about; `etir.ir.verify` has the table."""
