"""What driver and workers tell each other."""

import pickle

from featcache.datasets.base import ImageRecord
from featcache.distributed.messages import Order
from featcache.storage.changes import Change


def test_an_order_arrives_as_it_was():
    images = (ImageRecord("a", "photos/a.jpg"), ImageRecord("b", "photos/ü.jpg"))
    gone = Change(shard=0, image=1)
    order = Order(number=3, attempt=2, images=images, changes=(gone,))
    sent = pickle.dumps(order)
    assert pickle.loads(sent) == order
    assert sent.count(b"ImageRecord") == 0  # names of classes cost more than the values
