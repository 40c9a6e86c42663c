"""Convolutions, look-ups and users' own operations that are not what they should be, and all that is said of them."""

import pytest
from snippets import expected, message_of

HEAD = """\
import etir
image, kernel = jnp.ones((4, 4, 2)), jnp.ones((3, 3, 2, 1))
params, states, x = {"w": jnp.eye(3)}, {"h": jnp.zeros(3)}, jnp.ones(3)
double = etir.register_operation("double", apply=lambda x, w: 2 * x @ w, expression="i,ij->j")
"""
"""A case begins on the fifth line."""

CASES = {
    "a convolution of a vector": (
        """
        etir.conv(x, kernel)
        """,
        """
        model.py:5:1: error: etir.conv got data of 1 axes and a kernel of 4 [conv-rank]
          etir.conv(x, kernel)
          ^^^^^^^^^^^^^^^^^^^^
          help: a kernel has one to three axes in space and two of features; the data have as many, or no batch axis
        """,
    ),
    "a convolution of other features": (
        """
        etir.conv(image, kernel[:, :, :1])
        """,
        """
        model.py:5:1: error: etir.conv of shapes (1, 4, 4, 2) and (3, 3, 1, 1): conv_general_dilated lhs feature dimension size divided by feature_group_count must equal the rhs input feature dimension size, but 2 // 1 != 1 [operand-shape]
          etir.conv(image, kernel[:, :, :1])
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        """,  # noqa: E501
    ),
    "ids that are no integers": (
        """
        etir.embed(params["w"], x)
        """,
        """
        model.py:5:1: error: etir.embed got a table of shape (3, 3) and ids of type float64 [embed-ids]
          etir.embed(params["w"], x)
          ^^^^^^^^^^^^^^^^^^^^^^^^^^
          help: a table has one axis or more, and ids are integers
        """,
    ),
    "an unfolding without an expression": (
        """
        etir.register_operation("mine", apply=lambda x, w: x @ w, unfold=lambda x, w: x)
        """,
        """
        model.py:5:1: error: the weight operation 'mine' has an unfolding and no expression [expression-form]
          etir.register_operation("mine", apply=lambda x, w: x @ w, unfold=lambda x, w: x)
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          help: say what product of the unfolded data and the weight it is: expression='...pk,pko->...po'
        """,
    ),
    "an operation that is not its product": (
        """
        def step(params, states, x):
            h = 0.5 * states["h"] + double(x, params["w"])
            return {"h": h}, h
        etir.compile(step, params, states, x)
        """,
        """
        model.py:6:29: error: the weight operation 'double' is not what its unfolding says: on random operands their results, of up to 0.38, differ by 0.19 [operation-meaning]
          h = 0.5 * states["h"] + double(x, params["w"])
                                  ^^^^^^^^^^^^^^^^^^^^^^
          help: apply(x, w) must equal jnp.einsum(expression, unfold(x, w), w) for all x and w
        """,  # noqa: E501
    ),
    "a weight in the place of the data": (
        """
        def step(params, states, x):
            h = 0.5 * states["h"] + double(params["w"], x)
            return {"h": h}, h
        etir.compile(step, params, states, x)
        """,
        """
        model.py:6:29: error: the second operand of this operation (double), its weight, is not made of parameters alone [site-without-weight]
          h = 0.5 * states["h"] + double(params["w"], x)
                                  ^^^^^^^^^^^^^^^^^^^^^^
          help: pass the weight in params; for a product of two computed arrays use the plain operation
        """,  # noqa: E501
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.each
def test_what_is_said(name: str):
    program, message = CASES[name]
    assert message_of(HEAD + expected(program)) == expected(message)
