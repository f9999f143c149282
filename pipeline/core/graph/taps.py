"""Which steps of a net are its layers, and what these are called.

A layer is a convolution with the normalisation and rectification that follow it directly. Where
none rectifies it directly, as at the end of a residual block, it is the rectified sum that it
goes into; several convolutions may share one.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import fx, nn

from pipeline.core.graph.spelling import Spelling

Returned = Mapping[str, Sequence[str]]
"""Path of a module → the nodes that it returned."""


def find_taps(
    traced: fx.GraphModule, returned: Returned, short_names: Callable[[str], str]
) -> dict[str, fx.Node]:
    """Layer name → the node whose output is its feature maps, for every convolution of the net.

    A layer has the net's own short name, or the path of the convolution's module; a residual sum
    has the path of the block that returns it, where there is one. What is called again has the
    number of the call behind an @.
    """
    spelling = Spelling.of(traced)
    blocks = _blocks(returned, spelling.modules)
    taps: dict[str, fx.Node] = {}
    for node in traced.graph.nodes:
        if spelling.is_conv(node):
            tap, added = _tap(node, spelling)
            if tap not in taps.values():
                path = str(node.target)
                if added is not None:
                    of_either = [blocks.get(end.name, "") for end in (tap, added)]
                    path = max(of_either, key=len) or path
                taps[_free(short_names(path) or path, taps)] = tap
    return taps


def _tap(conv: fx.Node, spelling: Spelling) -> tuple[fx.Node, fx.Node | None]:
    """The node of a convolution's layer, and the sum that is rectified in it, if there is one."""
    node = conv
    while (user := _user(node, spelling)) is not None and spelling.normalises(user):
        node = user
    if user is not None and spelling.activates(user):
        return user, None
    added = None
    while user is not None and (spelling.adds(user) or (added and spelling.shifts(user))):
        user, added = _user(user, spelling), user
    if added is not None and user is not None and spelling.activates(user):
        return user, added
    return node, None


def _user(node: fx.Node, spelling: Spelling) -> fx.Node | None:
    """The only user of a node; of x · sigmoid(x), the product."""
    users = list(node.users)
    if len(users) == 2:
        users = [user for user in users if spelling.is_swish(user)]
    return users[0] if len(users) == 1 else None


def _blocks(returned: Returned, modules: Mapping[str, nn.Module]) -> dict[str, str]:
    """Node → the innermost module with others inside it that returned it."""
    found: dict[str, str] = {}
    for path, nodes in returned.items():
        if path in modules and any(True for _ in modules[path].children()):
            for node in nodes:
                found[node] = max(path, found.get(node, ""), key=len)
    return found


def _free(name: str, taken: Mapping[str, object]) -> str:
    """The name, with a number behind it if it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}@{number}"
    return free
