"""Judges documents by a JSON schema. Input, in a file: {"schema": …, "documents": [{"schema": …, "yaml": TEXT or "json": VALUE}, …]},
where the schema of a document is a part of the whole one, if it is given. Output: for each document null, or what is wrong with it."""

import json
import sys

import jsonschema
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError


def content(document):
    if "json" in document:
        return document["json"]
    # YAML 1.2, as editors read it.
    yaml = YAML(typ="safe", pure=True)
    # Dates and the like are texts to JSON.
    return json.loads(json.dumps(yaml.load(document["yaml"]), default=str))


def main():
    asked = json.load(open(sys.argv[1], encoding="utf-8"))
    whole = asked["schema"]
    kind = jsonschema.validators.validator_for(whole, jsonschema.Draft202012Validator)
    kind.check_schema(whole)
    resolver = jsonschema.RefResolver.from_schema(whole)
    answers = []
    for document in asked["documents"]:
        try:
            value = content(document)
        except (YAMLError, TypeError, ValueError) as error:
            answers.append("no YAML: " + str(error).split("\n", 1)[0])
            continue
        validator = kind(document.get("schema", whole), resolver=resolver)
        # Quicker than to look for the best of all errors.
        if validator.is_valid(value):
            answers.append(None)
            continue
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        answers.append(f"{error.json_path}: {error.message[:300]}")
    json.dump(answers, sys.stdout)


main()
