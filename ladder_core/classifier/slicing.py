"""Cut a program in two at its head: the part that makes the latents, and the part that makes the logits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ladder_core.classifier.graph import RETURN, Argument, Block, Graph, Node, Value, walk
from ladder_core.classifier.head import Head
from ladder_core.errors import ModelError


def features_block(graph: Graph, head: Head) -> Block:
    """The program up to its head, leaving with the latents of every site.

    A site inside a branch becomes a return inside that branch, so that only the branch taken is run.

    Raises:
        ModelError: ``MODEL_UNSUPPORTED`` if the head is inside a loop, or several heads are inside branches.
    """
    if head.is_affine:
        block, _ = _cut(graph.block, {site.node: [site.data] for site in head.sites})
    else:
        before = graph.block.nodes[: _last_site(graph, head)]
        block = Block(nodes=[*before, Node(RETURN, None, latents_of(head), [])])
    return _prune(block)


def head_block(graph: Graph, head: Head) -> Block:
    """The program from the latents to the logits.

    Raises:
        ModelError: ``MODEL_UNSUPPORTED`` if the logits need more of the program than the latents.
    """
    logits = head.logits
    if head.is_affine:
        site = head.sites[0]
        logits = (site.bias_node or site.node).output
    return _straight_block(graph, [logits], latents_of(head))


def affine_block(graph: Graph, head: Head) -> Block:
    """The program that computes the weight and bias of an affine head from the module's tensors."""
    site = head.sites[0]
    return _straight_block(graph, [site.weight] if site.bias is None else [site.weight, site.bias], [])


def latents_of(head: Head) -> list[Value]:
    """The latents, one value for each separate input of the head."""
    if head.is_affine:
        return [head.sites[0].data]
    return list(dict.fromkeys(site.data for site in head.sites))


# Up to the head


def _cut(block: Block, leave: Mapping[Node, list[Value]]) -> tuple[Block, bool]:
    """Copy ``block`` up to the first node of ``leave``; also whether every way through it leaves."""
    copy = Block(inputs=block.inputs, outputs=block.outputs)
    for node in block.nodes:
        if node in leave:
            copy.nodes.append(Node(RETURN, None, leave[node], []))
            copy.outputs = []
            return copy, True
        if not node.blocks:
            copy.nodes.append(node)
            continue
        inner = [_cut(branch, leave) for branch in node.blocks]
        copy.nodes.append(Node(node.name, node.schema, node.inputs, node.outputs, [b for b, _ in inner]))
        if node.name == "prim::Loop" and any(n.name == RETURN for n in walk(inner[0][0])):
            raise ModelError.unsupported(
                "the classifier head is applied inside a loop; apply it once, after the loop"
            )
        if node.name == "prim::If" and all(left for _, left in inner):
            copy.outputs = []
            return copy, True
    return copy, False


def _last_site(graph: Graph, head: Head) -> int:
    sites = {site.node for site in head.sites}
    positions = [number for number, node in enumerate(graph.block.nodes) if node in sites]
    if len(positions) != len(sites):
        raise ModelError.unsupported(
            "several classifier heads are applied inside branches or loops of the program; "
            "apply them after the control flow, or trace the model"
        )
    return positions[-1]


def _prune(block: Block, needed: set[Value] | None = None) -> Block:
    """Drop what neither has an effect nor leads to ``needed`` or to a return.

    Args:
        block: The block; it is not changed.
        needed: The values needed after the block; those it needs itself are added.
    """
    needed = set() if needed is None else needed
    needed.update(block.outputs)
    nodes = []
    for node in reversed(block.nodes):
        kept = _prune_node(node, needed)
        if kept is not None:
            needed.update(kept.inputs)
            nodes.append(kept)
    return Block(block.inputs, nodes[::-1], block.outputs)


def _prune_node(node: Node, needed: set[Value]) -> Node | None:
    wanted = [output in needed for output in node.outputs]
    if not node.blocks:
        return node if any(wanted) or node.has_effect else None
    effects = any(inner.has_effect for block in node.blocks for inner in walk(block))
    if not any(wanted) and not effects:
        return None
    if node.name == "prim::Loop":
        # What a loop carries may feed itself, so all of it stays.
        return Node(
            node.name, None, node.inputs, node.outputs, [_prune(block, needed) for block in node.blocks]
        )
    blocks = []
    for block in node.blocks:
        outputs = [value for value, want in zip(block.outputs, wanted, strict=False) if want]
        blocks.append(_prune(Block(block.inputs, block.nodes, outputs), needed))
    outputs = [value for value, want in zip(node.outputs, wanted, strict=True) if want]
    return Node(node.name, None, node.inputs, outputs, blocks)


# From the head on


def _straight_block(graph: Graph, results: list[Value], given: list[Value]) -> Block:
    """Compute ``results`` from ``given`` and the module's tensors, in program order.

    Raises:
        ModelError: ``MODEL_UNSUPPORTED`` if they depend on anything else.
    """
    order = {node: number for number, node in enumerate(walk(graph.block))}
    nodes = _producers(results, set(given))
    read = {value for node in nodes for value in _read(node)}
    start = min((order[node] for node in nodes if set(given) & set(node.inputs)), default=len(order))
    # A tensor computed here may be changed in place by an operation whose own result is unused.
    nodes |= {
        node
        for node in graph.block.nodes
        if order[node] > start and read & set(node.written) and node not in nodes
    }
    straight = sorted(nodes, key=order.__getitem__)
    return Block(nodes=[*straight, Node(RETURN, None, results, [])])


def _producers(values: Iterable[Value], given: set[Value]) -> set[Node]:
    """The nodes needed to compute ``values``, not looking behind ``given``."""
    nodes: set[Node] = set()
    pending = list(values)
    while pending:
        value = pending.pop()
        if value in given:
            continue
        if isinstance(value.source, Argument):
            raise ModelError.unsupported(
                "the logits depend on more than the input of the last linear layer (a connection around "
                "it, or a size read before it); end the model in one linear layer, or in flatten(1) "
                "instead of view()"
            )
        if value.node is not None and value.node not in nodes:
            nodes.add(value.node)
            pending.extend(_read(value.node))
    return nodes


def _read(node: Node) -> Iterator[Value]:
    """The values a node needs from outside itself."""
    yield from node.inputs
    for block in node.blocks:
        inner = list(walk(block))
        own = {*block.inputs, *(value for n in inner for value in n.outputs)}
        own.update(value for n in inner for b in n.blocks for value in b.inputs)
        for value in [*block.outputs, *(value for n in inner for value in n.inputs)]:
            if value not in own:
                yield value
