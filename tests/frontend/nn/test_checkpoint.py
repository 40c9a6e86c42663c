"""Saving and loading."""

import jax.numpy as jnp
import numpy as np
from snippets import expected, message_of

from etir.frontend import HiddenGroupState, HiddenState, ParamState, State, nn, transform


class Cell(nn.Module):
    def __init__(self) -> None:
        self.w = ParamState(jnp.ones(2))
        self.h = HiddenState(jnp.zeros(2))
        self.group = HiddenGroupState(V=jnp.zeros(3), I=jnp.zeros(3))
        self.late = HiddenState(lazy=jnp.zeros_like)
        self.count = State(0)


def test_round_trip():
    model, other = nn.Sequential(Cell()), nn.Sequential(Cell())
    cell = model.layers[0]
    cell.h.value, cell.group["V"], cell.count.value = jnp.ones(2), jnp.full(3, 2.0), 7
    saved = nn.save_states(model)
    assert list(saved) == ["layers.0.h", "layers.0.group", "layers.0.late", "layers.0.count"]
    assert saved["layers.0.late"] is None
    cell.h.value += 1
    cell.group.value["V"] = cell.group["V"] * 0
    loaded = nn.load_states(other, saved).layers[0]
    assert (float(loaded.h.value.sum()), float(loaded.group["V"].sum()), int(loaded.count.value)) == (2, 6, 7)
    assert not loaded.late.is_set


def test_numpy_arrays_and_set_lazy_states():
    model = Cell()
    saved = nn.save_states(model)
    saved["late"], saved["h"] = np.ones(4), np.ones(2)
    assert nn.load_states(model, saved).late.varshape == (4,)
    assert nn.load_states(model, nn.save_states(Cell())).late.is_set is False


def test_weights_on_request():
    model = Cell()
    saved = nn.save_states(model, ...)
    saved["w"] = saved["w"] * 3
    assert float(nn.load_states(model, saved).w.value.sum()) == 6
    assert list(nn.save_states(model, (ParamState, "h"))) == ["w", "h"]


def test_samples_stay_samples():
    model = Cell()
    transform.vmap_new_states(lambda: nn.init_all_states(model) and None, axis_size=2)()
    nn.load_states(model, nn.save_states(model))
    assert repr(model.h) == "HiddenState('h', f64[2,2] per new)"


def test_not_strict():
    model = Cell()
    nn.load_states(model, {"h": jnp.ones(2), "hh": jnp.ones(2)}, strict=False)
    assert float(model.h.value.sum()) == 2


def test_everything_wrong_is_said_at_once_and_nothing_loaded():
    assert message_of("""
        class Cell(nn.Module):
            def __init__(self):
                self.h = HiddenState(jnp.zeros(2))
                self.v_th = HiddenState(jnp.zeros(2))
                self.group = HiddenGroupState(V=jnp.zeros(2), I=jnp.zeros(2))

        cell = Cell()
        try:
            nn.load_states(cell, {"h": jnp.ones((16, 2)), "vth": jnp.ones(2), "group": {"V": jnp.ones(2)}})
        finally:
            assert float(cell.h.value.sum()) == 0
    """) == expected("""
        model.py:9:5: error: load_states was given f64[16,2] for 'h', which holds f64[2] [path-value]
          nn.load_states(cell, {"h": jnp.ones((16, 2)), "vth": jnp.ones(2), "group": {"V": jnp.ones(2)}})
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:3:18: state 'h' is declared here
          help: initialise the model with the same sizes and the same batch first
        model.py:9:5: error: load_states was given {V: f64[2]} for 'group', which holds {I: f64[2], V: f64[2]} [path-value]
          nn.load_states(cell, {"h": jnp.ones((16, 2)), "vth": jnp.ones(2), "group": {"V": jnp.ones(2)}})
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:5:22: state 'group' is declared here
          help: initialise the model with the same sizes and the same batch first
        model.py:9:5: error: load_states was given nothing for 'v_th' [path-missing]
          nn.load_states(cell, {"h": jnp.ones((16, 2)), "vth": jnp.ones(2), "group": {"V": jnp.ones(2)}})
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        model.py:9:5: error: load_states was given 'vth', which the model does not have [path-unexpected]
          nn.load_states(cell, {"h": jnp.ones((16, 2)), "vth": jnp.ones(2), "group": {"V": jnp.ones(2)}})
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          help: did you mean 'v_th'?
    """)  # noqa: E501  # fmt: skip


def test_what_is_no_array():
    assert message_of("""
        nn.load_states({"h": HiddenState(0.0, name="h")}, {"h": "zero"})
    """) == expected("""
        model.py:1:1: error: load_states was given a str for 'h', which holds f64[] [path-value]
          nn.load_states({"h": HiddenState(0.0, name="h")}, {"h": "zero"})
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:22: state 'h' is declared here
          help: initialise the model with the same sizes and the same batch first
    """)
