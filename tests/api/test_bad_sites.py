"""Weight operations that cannot be traced, types that cannot be added up, and the whole text of what is said."""

import pytest
from snippets import expected, message_of

HEAD = """\
import etir
from etir import matmul
W, h, x = jnp.eye(3), jnp.zeros(3), jnp.ones(3)
params, states = {"cell": {"w": W}}, {"h": h}
"""
"""A case begins on the fifth line."""

CASES = {
    "sites='auto' where no parameter is used": (
        """
        etir.compile(lambda params, states, x: ({"h": 0.9 * states["h"] + x}, x), params, states, x, sites="auto")
        """,
        """
        model.py:5: error: step 'lambda' uses no weight through an ETP operation, so 'd_rtrl' has nothing to trace [no-site]
          etir.compile(lambda params, states, x: ({"h": 0.9 * states["h"] + x}, x), params, states, x, sites="auto")
          help: write etir.matmul(h, w) where the weight should learn online
        """,  # noqa: E501
    ),
    "eight bits": (
        """
        def narrow(params, states, x):
            v = 0.9 * states["v"].astype(float) + matmul(x, params["cell"]["w"])
            return {"v": v.astype(jnp.float8_e4m3fn)}, v
        etir.compile(narrow, params, {"v": h.astype(jnp.float8_e4m3fn)}, x)
        """,
        """
        model.py:5: error: hidden state 'v' is float8_e4m3fn[3], and so would its derivatives be: JAX does not add these up [narrow-type]
          def narrow(params, states, x):
          help: hold it in bfloat16 and round it in the step, h.astype(float8_e4m3fn).astype(bfloat16), or declare it not hidden
        """,  # noqa: E501
    ),
    "a product of eight bits": (
        """
        def narrow(params, states, x):
            y = matmul(x.astype(jnp.float8_e5m2), params["cell"]["w"].astype(jnp.float8_e5m2))
            return {"h": 0.9 * states["h"] + y.astype(float)}, None
        etir.compile(narrow, params, states, x)
        """,
        """
        model.py:6:9: error: the result of this operation (dot) is float8_e5m2[3], and so would the trace of its weight be: JAX does not add these up [narrow-type]
          y = matmul(x.astype(jnp.float8_e5m2), params["cell"]["w"].astype(jnp.float8_e5m2))
              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          help: cast its operands to bfloat16 first
        """,  # noqa: E501
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.each
def test_what_is_said(name: str):
    program, message = CASES[name]
    assert message_of(HEAD + expected(program)) == expected(message)
