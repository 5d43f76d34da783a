"""Reads a YAML file and prints its documents as one JSON list; refuses what its published schema does not know.

Usage: look.py yaml|compose|operator FILE
  compose   the file is a Compose file, by the types of the Compose specification
  operator  documents of monitoring.coreos.com are as the Prometheus operator's custom resource definitions say; others pass
"""

import json
import sys

import yaml


def check_compose(documents):
    from compose_spec import PyCompose

    # Written again, because the types do not know YAML's merge key (`<<`), which Compose resolves.
    PyCompose.from_yaml(yaml.safe_dump(documents[0]))


def check_operator(documents):
    from cloudcoil.models.prometheus_operator import v1

    for document in documents:
        if document["apiVersion"] != "monitoring.coreos.com/v1":
            continue
        resource = getattr(v1, document["kind"]).model_validate(document)
        # The models pass over fields that the definition does not have: such a field is missing when it is written again.
        again = resource.model_dump(mode="json", by_alias=True, exclude_unset=True)
        if again != document:
            sys.exit(f"{document['kind']} has fields that its definition does not know, or values it writes otherwise:\n{again}\n{document}")


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("yaml", "compose", "operator"):
        sys.exit(__doc__)
    kind, file = sys.argv[1:]
    with open(file, encoding="utf-8") as stream:
        text = stream.read()
    documents = list(yaml.safe_load_all(text))
    if kind == "compose":
        check_compose(documents)
    if kind == "operator":
        check_operator(documents)
    json.dump(documents, sys.stdout)


if __name__ == "__main__":
    main()
