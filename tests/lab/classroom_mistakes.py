"""What students write when they are wrong: for each exercise at least three mistakes, and what they must be told."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from d2vlm_lab.lab.classroom.page02 import on_screen
from d2vlm_lab.lab.classroom.page03 import rule_of_the_page


def always(value):
    """A function without arguments, as predictions and constructions are."""
    return lambda: value


def runs_of(curve, share=0.6):
    keep, runs = curve >= share * curve.max(), []
    for k in range(len(curve)):
        if keep[k]:
            if k and keep[k - 1]:
                runs[-1] = (runs[-1][0], k)
            else:
                runs.append((k, k))
    return runs


def loop_mean(intervals, states, until=1):
    return torch.stack([states[int(a):int(b) + until].mean(0) for a, b in intervals])


def in_place_carry(embeddings, columns, meaning):
    embeddings[columns] += meaning
    return embeddings


def if_evidence(x, values, interval, evidence):
    return x + values[interval[0]:interval[1] + 1].mean(0) if evidence else x


def step_with(add=if_evidence, curve=lambda dots: torch.sigmoid(dots / 2)):
    def step(state, keys, values, table, evidence_id):
        token = int((table @ state).argmax())
        interval = rule_of_the_page(curve(keys @ state))
        return token, interval, add(table[token], values, interval, token == evidence_id)
    return step


def without_clamp(interval, times):
    def position(second):
        k = max((i for i, time in enumerate(times) if time <= second), default=-1)
        return k + (second - times[k]) / (times[k + 1] - times[k]) if k < len(times) - 1 else k
    return [position(second) for second in interval]


def changed(mask, row, column):
    mask = mask.clone()
    mask[row, column] = ~mask[row, column]
    return mask


def study(**changes):
    good = {"name": "mine", "question": "Does it matter?", "hypothesis": "Yes.", "preset": "tiny", "reference": "base",
            "notebook": "notebooks/ablations/train_and_score.ipynb", "metrics": ["dvc_F1@0.5"], "seeds": [0, 1],
            "variants": {"base": {}, "mine": {"method.target_base": 1.3}}}
    return always(good | changes)


def sums_by_sample(values, sample):
    return torch.stack([values[sample == k].sum() for k in sample.unique()]).mean()


def with_empty_samples(values, sample):
    return sum(values[sample == k].mean() for k in sample.unique()) / (int(sample.max()) + 1)


def coverage_f1(overlaps, threshold):
    if not overlaps.numel():
        return float(not sum(overlaps.shape))
    p = (overlaps.amax(1) >= threshold).float().mean()
    r = (overlaps.amax(0) >= threshold).float().mean()
    return float(2 * p * r / (p + r)) if p + r else 0.0


def greedy_f1(overlaps, threshold):
    used = set()
    for row in overlaps:
        for k, value in enumerate(row):
            if value >= threshold and k not in used:
                used.add(k)
                break
    total = sum(overlaps.shape)
    return 2 * len(used) / total if total else 1.0


def greediest_f1(overlaps, threshold):
    used = set()
    for event in range(overlaps.shape[1]):
        best = max((p for p in range(overlaps.shape[0]) if p not in used and overlaps[p, event] >= threshold),
                   key=lambda p: float(overlaps[p, event]), default=None)
        used |= {best} - {None}
    total = sum(overlaps.shape)
    return 2 * len(used) / total if total else 1.0


def most_overlap_f1(overlaps, threshold):
    from scipy.optimize import linear_sum_assignment
    allowed = overlaps * (overlaps >= threshold)
    pairs = int((allowed[linear_sum_assignment(allowed, maximize=True)] > 0).sum())
    return 2 * pairs / sum(overlaps.shape) if sum(overlaps.shape) else 1.0


def leading_only(text):
    """Grounds the `<evi>` at the very beginning, whether or not there is an end marker."""
    text, n = text.replace("</evi>", ""), 0
    while text.startswith("<evi>" * (n + 1)):
        n += 1
    return n, [k if k < n else None for k in range(text.count("<evi>") - n)]


def f1_of_shares(overlaps, threshold):
    predictions, truths = overlaps.shape
    if not predictions or not truths:
        return float(predictions == truths)
    pairs = greedy_f1(overlaps, threshold) * (predictions + truths) / 2
    p, r = pairs / predictions, pairs / truths
    return 2 * p * r / (p + r)


def t_interval(s, r, ddof=1, root=True, factor=None):
    from scipy import stats
    d = np.array(s) - np.array(r)
    if len(d) < 2:
        return float(d.mean()), math.nan
    factor = factor or stats.t.ppf(0.975, len(d) - 1)
    return float(d.mean()), float(factor * d.std(ddof=ddof) / (math.sqrt(len(d)) if root else 1))


def unpaired(s, r):
    from scipy import stats
    if len(s) < 2:
        return s[0] - r[0], math.nan
    error = math.sqrt((np.var(s, ddof=1) + np.var(r, ddof=1)) / len(s))
    return float(np.mean(s) - np.mean(r)), float(stats.t.ppf(0.975, len(s) - 1) * error)


LOOKING = {"whole video, event of 4 s": 0.25, "whole video, event of 8 s": 0.5, "oracle, 2 events": 0.5,
           "oracle, 4 events": 0.25}
FINE = {"2 fps": 0.905, "1 fps": 0.667, "0.5 fps": 0.667, "0.25 fps": 0.0}
EYE = {"A": (2, 4), "B": (4, 5), "C": (4, 6), "D": (1, 2)}
WIDE = {"base 3": 0, "base 2": 0, "base 1.5": 2, "base 1.2": 4}
FORGETS = {"red, blue | blue, red": True, "red | red, red, red": True, "red, blue | red, blue, blue": False,
           "red, red | blue, blue": False}
RATIO = {"1 event, width 96": 96, "3 events, width 96": 288, "3 events, width 4096": 12288, "weight of the sum": 0.0347}
FIRST = {"the output has changed": False, "A has a gradient": False, "B has a gradient": True}
THREE = {"one for all, free, 0.3": 1, "one for all, one to one, 0.3": 0.667, "three times, free, 0.5": 0.667,
         "three times, one to one, 0.5": 0.4}
CLEAR = {"A": "higher", "B": "unclear", "C": "lower", "D": "unclear"}
SAME, DIFFERENT = torch.ones(3, 4), torch.arange(12.0).view(3, 4)

def one_grounded(text):
    """Counts one event where no `</evi>` ends the grounding stage."""
    head, end, tail = text.partition("</evi>")
    n = head.count("<evi>") if end else int(text.startswith("<evi>"))
    later = tail.count("<evi>") if end else text.count("<evi>") - n
    return n, [k if k < n else None for k in range(later)]


MISTAKES = {
    "event_seconds": [
        (lambda first, last, fps: (first / fps, (last + 1) / fps), "when the last frame disappears"),
        (lambda first, last, fps: [first * fps, last * fps], "multiply by the frame rate"),
        (lambda first, last, fps: (first, last), "frame numbers"),
        (lambda first, last, fps: first / fps, "returns a number")],
    "iou": [
        (lambda a, b: max(0, min(a[1], b[1]) - max(a[0], b[0])) / (a[1] - a[0] + b[1] - b[0]), "counted twice"),
        (lambda a, b: (i := min(a[1], b[1]) - max(a[0], b[0])) / (a[1] - a[0] + b[1] - b[0] - i), "becomes negative"),
        (lambda a, b: max(0, min(a[1], b[1]) - max(a[0], b[0])), "time in seconds"),
        (lambda a, b: (i := max(0, min(a[1], b[1]) - max(a[0], b[0]))) / (a[1] - a[0] + b[1] - b[0] - i),
         "ZeroDivisionError")],
    "without_looking": [
        (always(LOOKING | {"whole video, event of 4 s": 0.2}), "share 4 s"),
        (always(LOOKING | {"oracle, 2 events": 1.0}), "one time in two"),
        (always(LOOKING | {"oracle, 4 events": 0.5}), "right less often"),
        (always({key: 100 * share for key, share in LOOKING.items()}), "is in percent"),
        (always(LOOKING | {"oracle, 2 events": "50 %"}), "is a text ('50 %'). It should be a number"),
        (always({"oracle": 1}), "exactly these keys")],
    "blind_score": [
        (lambda events, duration: sum(e - s for s, e in events) / duration, "a sum grows"),
        (lambda events, duration: max(e - s for s, e in events) / duration, "best event only"),
        (lambda events, duration: 1.0, "contains it")],
    "same_score": [
        (always(((5, 10), (2, 10))), "as long as the true one"),
        (always(((6, 10), (2, 10))), "of your first interval with"),
        (always(((4 + 4 / 3, 8 + 4 / 3), (5, 13))), "should contain the whole event"),
        (always(((9, 5), (2, 10))), "ends before it starts")],
    "on_screen": [
        (lambda times, seconds: (times - seconds[:, None]).abs().argmin(-1), "nearest frame"),
        (lambda times, seconds: (torch.searchsorted(times, seconds) - 1).clamp(min=0), "At exactly the time"),
        (lambda times, seconds: torch.searchsorted(times, seconds, right=True) - 1, "is -1"),
        (lambda times, seconds: on_screen.right(times, seconds).tolist(), "should return a tensor")],
    "frame_positions": [
        (lambda interval, times: tuple((s - times[0]) / (times[1] - times[0]) for s in interval), "first two frames"),
        (lambda interval, times: tuple(float(np.abs(np.array(times) - s).argmin()) for s in interval), "whole frames"),
        (lambda interval, times: interval, "You return seconds"),
        (without_clamp, "Before the first frame, the position is 0"),
        (lambda interval, times: interval[0], "returns a number")],
    "how_fine": [
        (always(FINE | {"2 fps": 1.0}), "(6.5, 8.5)"), (always(FINE | {"1 fps": 0.8}), "(6, 8)"),
        (always(FINE | {"0.25 fps": 0.5}), "one instant")],
    "explained": [
        (lambda y, p: (y - p).pow(2).mean(0) / y.var(0, correction=0), "left unexplained"),
        (lambda y, p: 1 - (y - p).pow(2).sum(0) / y.pow(2).sum(0), "always guesses 0"),
        (lambda y, p: 1 - (y - p).pow(2).mean(0) / y.var(0), "minus one in one place only"),
        (lambda y, p: 1 - (y - p).var(0) / y.var(0), "variance of the errors"),
        (lambda y, p: 1 - (y - p).pow(2).mean() / (y - y.mean()).pow(2).mean(), "mix the questions")],
    "similarity": [
        (lambda g, f: g @ f.T, "as they are"), (lambda g, f: g @ f.T / g.shape[1], "the width D itself"),
        (lambda g, f: g @ f.T / g.shape[0] ** 0.5, "number of evidence tokens"),
        (lambda g, f: (g @ f.T / g.shape[1] ** 0.5).sigmoid(), "the sigmoid already"),
        (lambda g, f: (g @ f.T / g.shape[1] ** 0.5).softmax(-1), "compete"),
        (lambda g, f: (g @ f.T / g.shape[1] ** 0.5).detach(), "no gradient reaches `evidence`")],
    "salient_interval": [
        (lambda c: (runs_of(c)[0][0], runs_of(c)[-1][1]), "spans several runs"),
        (lambda c: max(runs_of(c), key=lambda r: c[r[0]:r[1] + 1].max()), "in which the maximum lies"),
        (lambda c: max(runs_of(c), key=lambda r: r[1] - r[0]), "the longest run"),
        (lambda c: (c.argmax(), c.argmax()), "the highest frame only"),
        (lambda c: max(runs_of(c), key=lambda r: c[r[0]:r[1] + 1].sum()), "compare the sums"),
        (lambda c: (rule_of_the_page(c)[0], rule_of_the_page(c)[1] + 1), "one frame after"),
        (lambda c: runs_of(c), "It should return a pair")],
    "by_eye": [
        (always(EYE | {"A": (2, 3)}), "which frames reach 0.6"), (always(EYE | {"B": (0, 1)}), "0.70 and 0.85"),
        (always(EYE | {"C": (0, 2)}), "two lower frames"), (always(EYE | {"D": (0, 7)}), "60 % of 0.05")],
    "peak_loses": [
        (always([0.1, 1.0, 0.9]), "one run only"), (always([1.0, 0.9, 0.1, 0.7]), "the peak wins"),
        (always([2.0, 0.1, 1.5]), "between 0 and 1"), (always([1.0, 0.6, 0.1, 1.0]), "more than one frame")],
    "rules_disagree": [
        (always([0.1, 1.0, 0.1]), "Both rules take frames 1 to 1"), (always([1.0, 0.7, 0.1]), "share frames"),
        (always([[1.0, 0.2], [0.1, 0.3]]), "one curve")],
    "my_rule": [
        (lambda c, m, z: c.argmax(-1), "of shape (1, 2)"),
        (lambda c, m, z: torch.stack([c.argmax(-1), c.argmax(-1)], -1).float(), "whole numbers"),
        (lambda c, m, z: torch.stack([c.argmax(-1), torch.full((len(c),), c.shape[1] - 1)], -1), "do not exist"),
        (lambda c, m, z: torch.zeros(len(c), 2, dtype=torch.long), "clear cases")],
    "frame_targets": [
        (lambda i, n, b: ((i[:, :1] <= torch.arange(n)) & (torch.arange(n) <= i[:, 1:])).float(), "targets are hard"),
        (lambda i, n, b: b ** -(torch.arange(n) - i.mean(-1, keepdim=True)).abs(), "from the middle"),
        (lambda i, n, b: b ** -torch.minimum((torch.arange(n) - i[:, :1]).abs(), (torch.arange(n) - i[:, 1:]).abs()),
         "inside the event too"),
        (lambda i, n, b: torch.where((i[:, :1] <= torch.arange(n)) & (torch.arange(n) <= i[:, 1:]), 1,
                                     b ** -(torch.arange(n) - i[:, :1]).abs()), "from the start only")],
    "grounding_loss": [
        (lambda z, y, m: (F.binary_cross_entropy_with_logits(z, y, reduction="none") * m).sum(-1), "sum over frames"),
        (lambda z, y, m: F.binary_cross_entropy_with_logits(z, y, reduction="none").mean(-1), "padding of shorter"),
        (lambda z, y, m: (F.binary_cross_entropy_with_logits(z, y, reduction="none") * m).mean(-1), "divide by all"),
        (lambda z, y, m: -((y * z.sigmoid().log() + (1 - y) * (1 - z.sigmoid()).log()) * m).sum(-1) / m.sum(-1),
         "logit of 200 your loss is not a number"),
        (lambda z, y, m: (F.binary_cross_entropy(z.sigmoid(), y, reduction="none") * m).sum(-1) / m.sum(-1),
         "your logarithm is cut off"),
        (lambda z, y, m: F.binary_cross_entropy_with_logits(z, y), "evidence tokens as well")],
    "push": [
        (lambda z, y: (z.sigmoid() - y) / len(z), "wrong sign"), (lambda z, y: y - z.sigmoid(), "1/T of the push"),
        (lambda z, y: (y - z) / len(z), "logits with targets")],
    "lowest_loss": [
        (lambda y: torch.zeros(y.shape[0]), "lowest loss is 0"),
        (lambda y: -(y * y.log() + (1 - y) * (1 - y).log()).mean(-1), "0 times the logarithm of 0"),
        (lambda y: -(y * (y + 1e-9).log()).mean(-1), "second half"),
        (lambda y: -(y * (y + 1e-9).log2() + (1 - y) * (1 - y + 1e-9).log2()).mean(-1), "base 2")],
    "too_wide": [
        (always(WIDE | {"base 2": 2}), "has 1/2"), (always(WIDE | {"base 1.5": 1}), "0.667"),
        (always(WIDE | {"base 1.2": 6}), "0.833")],
    "event_mean": [
        (lambda i, v: loop_mean(i, v, until=0), "last frame of the interval is missing"),
        (lambda i, v: torch.stack([v[a:b + 1].sum(0) for a, b in i.tolist()]), "add the states up"),
        (lambda i, v: v.mean(0).expand(len(i), -1), "over the whole video"),
        (lambda i, v: [v[a:b + 1].mean(0) for a, b in i.tolist()], "should return a tensor")],
    "carry": [
        (in_place_carry, "changes its argument `embeddings`"),
        (lambda e, c, m: e.index_copy(0, c, m), "You replace the embedding"),
        (lambda e, c, m: e.index_add(0, c - 1, m), "before `<evi>`"),
        (lambda e, c, m: e, "nothing was added")],
    "mean_forgets": [
        (always(FORGETS | {"red, blue | blue, red": False}), "does not depend on the order"),
        (always(FORGETS | {"red | red, red, red": False}), "mean of equal vectors"),
        (always(FORGETS | {"red | red, red, red": "True"}), "It should be True or False"),
        (always(FORGETS | {"red, blue | red, blue, blue": True}), "two thirds")],
    "blind_spot": [
        (lambda v: [[1, 2], [1, 2]], "the same one"), (lambda v: [[0, 1], [3, 4]], "something changes"),
        (lambda v: [[0, 2], [1, 2]], "The means differ"), (lambda v: [[1, 2], [2, 9]], "inside the video")],
    "mentions": [
        (lambda t: (t.split("</evi>")[0].count("<evi>"), list(range(t.split("</evi>")[-1].count("<evi>")))),
         "points at nothing"),
        (lambda t: (t.count("<evi>"), [0] * (t.count("<evi>") - 1)), "count all `<evi>`"),
        (lambda t: t.index("# event"), "ValueError: substring not found"),
        (leading_only, "whatever stands between them"), (one_grounded, "only the first `<evi>`"),
        (lambda t: t.count("<evi>"), "returns a number")],
    "one_pass_mask": [
        (lambda a, b, c: torch.ones(a + b + c, a + b + c).tril().bool(), "only look backwards"),
        (lambda a, b, c: torch.ones(a + b + c, a + b + c).bool(), "Every token sees"),
        (lambda a, b, c: torch.ones(a + b + c, a + b + c).tril(), "True and False"),
        (lambda a, b, c: torch.ones(b, b).bool(), "should be (3, 3)")],
    "pointing_states": [
        (lambda ids, e: torch.where(ids == e)[0], "state of `<evi>` itself"),
        (lambda ids, e: torch.where(ids == e)[0] + 1, "after `<evi>`"),
        (lambda ids, e: ids[torch.where(ids == e)[0] - 1], "their places")],
    "decoding_step": [
        (step_with(lambda x, v, i, evi: x + v[i[0]:i[1] + 1].mean(0)), "to every token"),
        (step_with(lambda x, v, i, evi: x + v.mean(0) if evi else x), "the whole video"),
        (step_with(lambda x, v, i, evi: v[i[0]:i[1] + 1].mean(0) if evi else x), "replaces the embedding"),
        (step_with(lambda x, v, i, evi: x), "carries nothing"),
        (step_with(curve=torch.sigmoid), "too steep"), (step_with(curve=lambda dots: dots / 2), "off the logits"),
        (step_with(curve=lambda dots: (dots / 2).softmax(-1)), "compete")],
    "leak": [
        (lambda m, s, f: m, "changed 0 entries"), (lambda m, s, f: torch.ones_like(m), "Change exactly one"),
        (lambda m, s, f: changed(m, s + f, s + f + 1), "still equal"),
        (lambda m, s, f: changed(m, 1, 1), "diagonal")],
    "consistency": [
        (lambda g, r: (g - r).mean(1), "cancel"), (lambda g, r: ((g - r) ** 2).mean(1), "square"),
        (lambda g, r: (g - r).abs().sum(1), "sum over the width"),
        (lambda g, r: (g - r.detach()).abs().mean(1), "no gradient reaches `referenced`")],
    "consistency_sum": [
        (lambda g, r: (g - r).abs().mean(), "still average over everything"),
        (lambda g, r: (g - r).abs().sum(1), "also adds up the events"),
        (lambda g, r: (g - r).abs().sum().item(), "no gradient reaches `grounded`")],
    "sum_or_mean": [
        (always(RATIO | {"1 event, width 96": 1}), "one event has as many terms"),
        (always(RATIO | {"3 events, width 4096": 4096}), "only the width"),
        (always(RATIO | {"weight of the sum": 2880}), "10 times the mean")],
    "mean_by_sample": [
        (lambda v, s: v.mean(), "weighs more than a video with one"), (sums_by_sample, "within each sample"),
        (with_empty_samples, "no values at all")],
    "spread": [
        (lambda v: v.var(), "all numbers together"), (lambda v: v.var(1).mean(), "within each state"),
        (lambda v: v.std(0).mean(), "standard deviation")],
    "cheap_way": [
        (always(((SAME, SAME), (SAME, SAME))), "Make the events differ more"),
        (always(((DIFFERENT, DIFFERENT), (DIFFERENT, DIFFERENT))), "collapsed into one"),
        (always(((SAME, SAME), (DIFFERENT, SAME))), "do not agree"),
        (always(((SAME, SAME), (DIFFERENT / 0 * 0, DIFFERENT / 0 * 0))), "finite numbers"),
        (always((SAME, DIFFERENT)), "return two pairs")],
    "lora_weight": [
        (lambda W, A, B, a: a / A.shape[0] * B @ A, "change alone"), (lambda W, A, B, a: W + B @ A, "forget the scale"),
        (lambda W, A, B, a: W + a * B @ A, "do not divide by the rank"),
        (lambda W, A, B, a: W + a / B.shape[0] * B @ A, "divide by the wrong dimension"),
        (lambda W, A, B, a: W + a // len(A) * B @ A, "everything after the decimal point"),
        (lambda W, A, B, a: W + a / len(A) * A @ B, "multiply A by B")],
    "lora_size": [
        (lambda m, n, r: m * n, "full matrix"), (lambda m, n, r: r * m * n, "multiply all three"),
        (lambda m, n, r: m * r, "B only")],
    "first_step": [
        (always(FIRST | {"the output has changed": True}), "the product B A is zero"),
        (always(FIRST | {"A has a gradient": True}), "wipes it out"),
        (always(FIRST | {"B has a gradient": False}), "A is not zero")],
    "never_learns": [
        (lambda m, n, r: (torch.ones(r, n), torch.zeros(m, r)), "B receives a gradient"),
        (lambda m, n, r: (torch.zeros(r, n), torch.ones(m, r)), "A receives a gradient"),
        (lambda m, n, r: (torch.full((r, n), torch.nan), torch.ones(m, r)), "`nan` or infinity in your matrices"),
        (lambda m, n, r: (torch.zeros(m, r), torch.zeros(r, n)), "A should have the shape")],
    "relative_change": [
        (lambda W, A, B, a: (a / len(A) * B @ A).norm(), "alone"),
        (lambda W, A, B, a: (B @ A).norm() / W.norm(), "forget the scale"),
        (lambda W, A, B, a: a / B.shape[0] * (B @ A).norm() / W.norm(), "divide by the wrong dimension"),
        (lambda W, A, B, a: (W + a / len(A) * B @ A).norm() / W.norm(), "close to 1")],
    "interval_log_probability": [
        (lambda z, t: (t * F.logsigmoid(z)).sum(-1), "Only the frames inside"),
        (lambda z, t: -F.binary_cross_entropy_with_logits(z, t, reduction="none").sum(-1), "mixes the probabilities"),
        (lambda z, t: (t * z.sigmoid() + (1 - t) * (1 - z.sigmoid())).prod(-1).log(), "smaller than any number"),
        (lambda z, t: (t * z.sigmoid() + (1 - t) * (1 - z.sigmoid())).log().mean(-1), "mean over frames")],
    "fpo_loss": [
        (lambda c, r, beta: -F.logsigmoid(beta * (r - c)), "exchanged chosen and rejected"),
        (lambda c, r, beta: -beta * F.logsigmoid(c - r), "after the logarithm"),
        (lambda c, r, beta: -(1 / (1 + torch.exp(-beta * (c - r)))).log(), "exactly 0"),
        (lambda c, r, beta: -(torch.sigmoid(beta * (c - r)) + 1e-10).log(), "also flat")],
    "dpo_loss": [
        (lambda c, r, rc, rr, beta: -F.logsigmoid(beta * (c - r)), "does not enter"),
        (lambda c, r, rc, rr, beta: -F.logsigmoid(beta * (c - r + rc - rr)), "has to be subtracted"),
        (lambda c, r, rc, rr, beta: -F.logsigmoid(beta * (c - rc - r)), "chosen answer only")],
    "wrong_when": [
        (lambda e, d: [(e[0][0] + 0.5, e[0][1] + 0.5), *e[1:]], "still overlaps"),
        (lambda e, d: [(e[0][0] - 9, e[0][1] - 9), *e[1:]], "leaves the video"),
        (lambda e, d: [(e[0][1], e[0][0]), *e[1:]], "ends before it starts"),
        (lambda e, d: [(float("nan"), float("nan")), *e[1:]], "finite numbers"),
        (lambda e, d: [(e[0][0], d), *e[1:]], "another length"), (lambda e, d: e[1:], "number of events")],
    "wrong_which": [
        (lambda e, c: (e[1:], c), "refers to event 1, but only event 0 is left"),
        (lambda e, c: (e[1:], [(k - 1, words) for k, words in c]), "refers to event -1, but"),
        (lambda e, c: (e[1:], [(k - 1, words) for k, words in c[1:]]), "refers to event -1, but"),
        (lambda e, c: (e[:-1], c[:-1] + c[:1]), "each of them once"), (lambda e, c: (e, c), "as many events as before"),
        (lambda e, c: (e[:-1], c[:-2]), "not mentioned in any clause"),
        (lambda e, c: (e[:1], c[:1]), "more than one event"),
        (lambda e, c: (e[1:], list(enumerate(words for _, words in c[1:]))), "describes another event")],
    "wrong_what": [
        (lambda c, colors: c, "0 clauses have changed"),
        (lambda c, colors: [(k, w.replace("red", "blue").replace("square", "disc")) for k, w in c],
         "2 clauses have changed"),
        (lambda c, colors: [(c[0][0], "the blue square spins"), *c[1:]], "More than the colour"),
        (lambda c, colors: [(c[0][0], "the pink disc spins"), *c[1:]], "Exchange a colour"),
        (lambda c, colors: [(1 - k, w) for k, w in c], "refers to another event")],
    "wrong_how": [
        (lambda c: list(c), "Nothing has changed"), (lambda c: c[::-1], "another order"),
        (lambda c: [*c, c[0], c[1]], "more than one clause"),
        (lambda c: [*c, (0, "the disc explodes")], "does not say"), (lambda c: c[:1] * 2, "is missing")],
    "my_mistake": [
        (lambda e, c, d: ("when", e, c), "Nothing has changed"),
        (lambda e, c, d: ("when", e[1:], [(k - 1, w) for k, w in c if k]), "more than times"),
        (lambda e, c, d: ("time", e, c), "the factor (one of"),
        (lambda e, c, d: ("when", [e[0], (e[1][0] + 1, e[1][1] + 1), *e[2:]], c), "IndexError"),
        (lambda e, c, d: ("how", e, [(k, w.replace("red", "blue")) for k, w in c]), "wording alone"),
        (lambda e, c, d: ("what", e, c[:1] + c), "added, removed or moved"),
        (lambda e, c, d: ("which", [], []), "No event is left"),
        (lambda e, c, d: ("which", e[1:], c), "an event that does not exist")],
    "three_answers": [
        (always(THREE | {"one for all, free, 0.3": 0.5}), "reaches both"),
        (always(THREE | {"three times, free, 0.5": 1}), "one of two events is missed"),
        (always(THREE | {"three times, one to one, 0.5": 0.667}), "three predictions")],
    "matched_f1": [
        (coverage_f1, "Several predictions"), (greedy_f1, "takes it away"), (greediest_f1, "overlaps it most"),
        (lambda o, t: greediest_f1(o.T, t), "it overlaps most"),
        (most_overlap_f1, "the sum of the overlaps"),
        (f1_of_shares, "ZeroDivisionError"),
        (lambda o, t: greedy_f1(o, t + 1e-5) if o.shape[0] < 2 else 0.0, "exactly the threshold")],
    "paired_difference": [
        (unpaired, "nothing to do with each other"), (lambda s, r: t_interval(s, r, factor=1.96), "1.96"),
        (lambda s, r: t_interval(s, r, ddof=0), "n - 1 is right"),
        (lambda s, r: t_interval(s, r, root=False), "square root of n")],
    "clear_difference": [
        (always(CLEAR | {"B": "higher"}), "contains zero"), (always(CLEAR | {"A": "unclear"}), "'A'"),
        (always(CLEAR | {"C": "higher"}), "'C'")],
    "standard_error": [
        (lambda p, n: p * (1 - p) / n, "the variance"), (lambda p, n: math.sqrt(p * (1 - p)), "a single question"),
        (lambda p, n: math.sqrt(p * (1 - p)) / n, "outside the square root")],
    "my_study": [
        (study(seeds=[0]), "at least two seeds"),
        (study(variants={"base": {}, "mine": {"method.target_bas": 1.3}}), "method.target_base"),
        (study(reference="mine"), "Leave the reference"), (study(question="Softness"), "question mark"),
        (study(metrics=["named_mIou"]), "did you mean 'named_mIoU'? ("),
        (always("softness"), "a dictionary")],
}
