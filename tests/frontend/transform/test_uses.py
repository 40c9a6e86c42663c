"""states_of and make_jaxpr: what a function reads, writes and makes, and the program that it is."""

import jax
import jax.numpy as jnp

from etir.frontend import HiddenState, ParamState, State, nn, random, transform


class Cell(nn.Module):
    def __init__(self) -> None:
        self.w = ParamState(jnp.ones((2, 3)))
        self.h = HiddenState(jnp.zeros(3))
        self.last = State(jnp.zeros(2))
        self.idle = State(0)

    def update(self, x):
        self.last.value = x
        self.h.value = self.h.value + x @ self.w.value
        return self.h.value


def used(uses: transform.Uses) -> tuple[list[str], list[str], list[str]]:
    return sorted(uses.reads), sorted(uses.writes), sorted(uses.makes)


def test_a_module():
    cell = Cell()
    uses = transform.states_of(cell, jnp.ones(2))
    assert used(uses) == (["h", "w"], ["h", "last"], [])
    assert uses.reads["w"] is cell.w
    assert str(uses) == "h     reads, writes\nw     reads\nlast  writes"
    assert float(cell.h.value.sum()) == 0


def test_it_sees_through_transforms_and_programs_that_are_traced_once():
    cell, xs = Cell(), jnp.ones((4, 2))
    compiled = transform.jit(cell)
    wanted = (["h", "w"], ["h", "last"], [])
    compiled(xs[0])
    for function, x in (
        (compiled, xs[0]),
        (lambda xs: transform.for_loop(compiled, xs), xs),
        (lambda x: transform.cond(x[0] > 0, cell, lambda x: jnp.zeros(3), x), xs[0]),
        (transform.remat(cell), xs[0]),
        (lambda x: transform.while_loop(lambda x: x[0] < 3, lambda x: cell(x) is None or x + 1, x), xs[0]),
        (transform.grad(lambda x: cell(x).sum(), cell), xs[0]),
    ):
        for _ in range(2):
            assert used(transform.states_of(function, x)) == wanted


def test_what_it_makes_closes_over_and_resets():
    made, cell = [], Cell()

    def function():
        made.append(State(1.0, name="new"))
        made[-1].value += 1
        nn.zero_states(cell)
        return random.rand() + made[-1].value

    uses = transform.states_of(function)
    assert used(uses) == (["random.key"], ["h", "random.key"], ["new"])


def test_two_states_of_one_name_are_told_apart():
    one, other = State(0.0, name="n"), State(1.0, name="n")
    assert used(transform.states_of(lambda: one.value + other.value)) == (["n", "n.2"], [], [])


def test_lazy_states_are_read_and_written():
    cell = nn.MinGRU(2, 3)
    assert used(transform.states_of(cell, jnp.ones((4, 2)))) == (["Wh", "Wz", "bh", "bz", "h"], ["h"], [])
    assert cell.h.varshape == (4, 3)


def test_the_program_is_the_functional_one():
    cell = Cell()
    cell.h.value = jnp.arange(3.0)
    program = transform.make_jaxpr(cell)(jnp.ones(2))
    assert (list(program.inputs), list(program.outputs)) == (["last", "h", "w"], ["last", "h"])
    given = [jax.tree.leaves(state.value)[0] for state in program.inputs.values()]
    y, last, h = jax.core.eval_jaxpr(program.jaxpr.jaxpr, program.jaxpr.consts, *given, jnp.ones(2))
    assert (y.tolist(), last.tolist(), h.tolist()) == ([2, 3, 4], [1, 1], [2, 3, 4])
    assert cell.h.value.tolist() == [0, 1, 2]
    assert str(program).startswith("in last, h, w\nout last, h\n{ lambda")
