"""What alerts and dashboards may ask for: the metrics and labels of tests/golden/metrics.txt."""

import re


def catalogue(root):
    """Names of series, with the labels of each."""
    known = {"up": set(), "ALERTS": {"alertname", "alertstate"}}
    for line in (root / "tests/golden/metrics.txt").read_text().splitlines():
        name, kind, *labels = line.split()
        own = set(labels[0].split(",")) if labels else set()
        if kind == "histogram":
            known |= {name + "_bucket": own | {"le"}, name + "_sum": own, name + "_count": own}
        else:
            known[name] = own
    return known


def faults_of(expression, known):
    """Sentences about series and labels that pgleash does not have. A look at the text, no parser of PromQL."""
    for name, selectors in re.findall(r"\b((?:pgleash|process)_[a-z_]+)\b(?:\{([^}]*)\})?", expression):
        if name not in known:
            yield f"there is no metric {name}"
            continue
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selectors):
            if label not in known[name] | {"instance", "job"}:
                yield f"metric {name} has no label {label}"
