"""Exercises of page 08: LoRA, what it trains, and what it does at the first step."""

from __future__ import annotations

import torch
from torch import Tensor

from .exercise import Comparison, Judgement, Mistake, prediction

generator = torch.Generator().manual_seed(8)


def _parts(m: int, n: int, r: int, alpha: float) -> tuple[Tensor, Tensor, Tensor, float]:
    return (torch.randn(m, n, generator=generator), torch.randn(r, n, generator=generator),
            torch.randn(m, r, generator=generator), alpha)


def _change(W: Tensor, A: Tensor, B: Tensor, alpha: float) -> Tensor:
    return alpha / len(A) * B @ A


WRONG_SIDE = "You divide by the wrong dimension: the rank is the small one, the number of rows of A."
SMALL = (torch.tensor([[2.0, 0.0], [1.0, 2.0]]), torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0], [0.0]]), 3.0)
MATRICES = [SMALL, (torch.eye(2), torch.ones(2, 2), torch.zeros(2, 2), 4.0), _parts(4, 3, 2, 3.0), _parts(5, 5, 1, 1.0),
            _parts(6, 7, 4, 8.0)]

lora_weight = Comparison(
    "lora_weight", "08", "W A B alpha",
    hints=("B is (m, r) and A is (r, n): the product `B @ A` has the shape of W.",
           "The rank r is the small dimension, `A.shape[0]`.",
           "Scale the product with alpha / r and add it to W."),
    returns="(m, n) the weight with its change",
    right=lambda W, A, B, alpha: W + _change(W, A, B, alpha), learns=(1, 2), cases=MATRICES,
    mistakes=(
        Mistake("You return the change alone. LoRA leaves W as it is and adds the change to it.", _change),
        Mistake("You forget the scale alpha / r. It keeps the size of the change the same when the rank is changed.",
                lambda W, A, B, alpha: W + B @ A),
        Mistake("You scale with alpha, but do not divide by the rank. With twice the rank, the change would be about "
                "twice as large.", lambda W, A, B, alpha: W + alpha * B @ A),
        Mistake(WRONG_SIDE, lambda W, A, B, alpha: W + alpha / A.shape[1] * B @ A),
        Mistake(WRONG_SIDE, lambda W, A, B, alpha: W + alpha / B.shape[0] * B @ A),
        Mistake("You divide with `//`, which drops everything after the decimal point. alpha / r need not be a whole "
                "number.", lambda W, A, B, alpha: W + alpha // len(A) * B @ A),
        Mistake("You multiply A by B. The product B A has the shape of W, but A B usually has another.",
                lambda W, A, B, alpha: W + alpha / len(A) * A @ B),
        Mistake("Your scale is upside down: it is alpha / r.", lambda W, A, B, alpha: W + len(A) / alpha * B @ A),
        Mistake("You scale the whole weight. Only the change is scaled.",
                lambda W, A, B, alpha: alpha / len(A) * (W + B @ A))))

lora_size = Comparison(
    "lora_size", "08", "m n r",
    hints=("How many numbers does B have, with m rows and r columns? And A, with r rows and n columns?",),
    returns="a whole number",
    right=lambda m, n, r: r * (m + n), cases=[(4, 4, 1), (96, 96, 8), (96, 256, 16), (4096, 4096, 8), (10, 3, 2)],
    mistakes=(
        Mistake("You count all numbers of the full matrix. LoRA trains two thin ones instead.", lambda m, n, r: m * n),
        Mistake("You count B only; A is trained as well.", lambda m, n, r: r * m),
        Mistake("You count A only; B is trained as well.", lambda m, n, r: r * n),
        Mistake("You multiply all three. A and B are two separate matrices, so add their sizes.",
                lambda m, n, r: m * n * r),
        Mistake("You count W too, but it is frozen: nothing in it is trained.", lambda m, n, r: m * n + r * (m + n))))

relative_change = Comparison(
    "relative_change", "08", "W A B alpha",
    hints=("`.norm()` of a matrix is the square root of the sum of its squared entries.",
           "Divide the norm of the change alpha / r · B A by the norm of W."),
    returns="one number, a tensor without dimensions",
    right=lambda W, A, B, alpha: _change(W, A, B, alpha).norm() / W.norm(), cases=MATRICES,
    mistakes=(
        Mistake("You return the size of the change alone. The same change matters more in a small matrix: divide by "
                "the norm of W.", lambda W, A, B, alpha: _change(W, A, B, alpha).norm()),
        Mistake("You compare the changed weight with W. That is close to 1 even if nothing was learned.",
                lambda W, A, B, alpha: (W + _change(W, A, B, alpha)).norm() / W.norm()),
        Mistake("You multiply the norms of A and B. The norm of the product B A is mostly smaller: one matrix may "
                "shrink the directions that the other one stretches.",
                lambda W, A, B, alpha: alpha / len(A) * A.norm() * B.norm() / W.norm()),
        Mistake("You forget the scale alpha / r, which belongs to the change.",
                lambda W, A, B, alpha: (B @ A).norm() / W.norm()),
        Mistake(WRONG_SIDE, lambda W, A, B, alpha: (alpha / A.shape[1] * B @ A).norm() / W.norm()),
        Mistake(WRONG_SIDE, lambda W, A, B, alpha: (alpha / B.shape[0] * B @ A).norm() / W.norm()),
        Mistake("Your fraction is upside down.", lambda W, A, B, alpha: W.norm() / _change(W, A, B, alpha).norm())))


def gradients(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of A, B and the output for a fixed W, input and goal."""
    rng = torch.Generator().manual_seed(0)
    W, x, goal = (torch.randn(*shape, generator=rng) for shape in ((len(B), A.shape[1]), (A.shape[1],), (len(B),)))
    A, B = (each.detach().clone().float().requires_grad_() for each in (A, B))
    output = (W + B @ A) @ x
    (output - goal).square().sum().backward()
    return A.grad, B.grad, output.detach() - W @ x


def _at_the_start() -> dict:
    a, b, moved = gradients(torch.randn(2, 4, generator=torch.Generator().manual_seed(1)), torch.zeros(3, 2))
    return {"the output has changed": bool(moved.abs().max() > 0), "A has a gradient": bool(a.abs().max() > 0),
            "B has a gradient": bool(b.abs().max() > 0)}


first_step = prediction(
    "first_step", "08", truth=_at_the_start,
    hints=("At the start, B is zero. What is B A then?",
           "The gradient of a factor of a product contains the other factor. Which of the two factors is zero?"),
    explains={"the output has changed": "B is zero, so the product B A is zero, too.",
              "A has a gradient": "B = 0 wipes it out in the product B A, so a small change of A changes nothing.",
              "B has a gradient": "if B were not zero, the output would change, because A is not zero."})


def _never_learns(pair, m: int, n: int, r: int) -> str | None:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(each, Tensor) for each in pair):
        return "Please return a pair of tensors: (A, B)."
    A, B = pair
    if A.shape != (r, n) or B.shape != (m, r):
        return f"A should have the shape ({r}, {n}) and B the shape ({m}, {r})."
    if not (A.isfinite().all() and B.isfinite().all()):
        return "There is `nan` or infinity in your matrices. Choose finite numbers, so that a layer can compute."
    a, b, _ = gradients(A, B)
    if a.abs().max() > 0 or b.abs().max() > 0:
        moving = "A" if a.abs().max() > 0 else "B"
        return f"With these matrices, {moving} receives a gradient, so training changes it."
    return None


never_learns = Judgement(
    "never_learns", "08", "m n r", look=_never_learns, cases=((3, 4, 2), (2, 2, 1)),
    hints=("A receives no gradient if B is zero. When does B receive none?",
           "The gradient of A contains B, and the gradient of B contains A. What follows if both are zero?"))

EXERCISES = (lora_weight, lora_size, relative_change, first_step, never_learns)
