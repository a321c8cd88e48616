from itertools import combinations

from featcache.datasets import demo
from featcache.datasets.scenes.seeds import DEMO, SEEDS


def test_nobody_shares_a_seed():
    assert len(SEEDS) == 4
    for (first, a), (second, b) in combinations(SEEDS.items(), 2):
        assert len(a), first
        assert not set(a[:: len(a) - 1]) & set(b), (first, second)
        assert a.stop <= b.start or b.stop <= a.start, (first, second)


def test_the_demo_draws_from_its_range():
    assert demo.SEED in DEMO
