"""A space file without a mistake, and one for every mistake, with a part of the sentence that it gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

GOOD = """
name: good
description: A space without a mistake.
defaults: {epochs: 12}
trials:
  one:
    baseline: true
    config: {decoder: fpn}
search:
  parameters:
    freeze: {choices: [none, all, stages, epochs]}
    freeze_stages: {int: [1, 4], when: {freeze: [stages]}}
    freeze_epochs: {int: [1, 8], when: {freeze: [epochs]}}
    learning_rate: {float: [1e-5, 1e-2], log: true}
    head_dropout: {float: [0.0, 0.5], step: 0.1}
    image_size: {int: [64, 128], step: 32}
"""


def document(**changes: Any) -> dict[str, Any]:
    """The good file's content with keys of the top level replaced."""
    content: dict[str, Any] = yaml.safe_load(GOOD.replace("1e-5", "1.0e-5").replace("1e-2", "1.0e-2"))
    return {**content, **changes}


def parameters(**given: Any) -> str:
    """A file that searches what is given and nothing else."""
    return yaml.safe_dump({"name": "x", "description": "d", "search": {"parameters": given}}, sort_keys=False)


def trial(**config: Any) -> str:
    return yaml.safe_dump({"name": "x", "description": "d", "trials": {"one": {"config": config}}})


HEAD = "name: x\ndescription: d\n"
SEARCH = HEAD + "search: {parameters: {optimizer: {choices: [adam, sgd]}}, "
ONE = HEAD + "trials: {one: {}}\n"


MISTAKES = {
    # the file itself
    "empty": ("", "must be a mapping with the keys name, description"),
    "a list": ("- 1\n", "must be a mapping with the keys name, description"),
    "not YAML": ("name: [", ", line 1, column 8: not valid YAML: "),
    "a tab": ("name: x\n\tdescription: y", ", line 2, column 1: not valid YAML: found character '\\t'"),
    "two documents": (HEAD + "---\nname: y\n", "line 3, column 1: not valid YAML: but found another document"),
    "a Python object": ("name: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    "a control character": ("name: \x07", "not a text file in UTF-8"),
    "key given twice": (HEAD + "name: y\n", ", line 3, column 1: not valid YAML: the key 'name' is given twice"),
    "nested key given twice": (
        HEAD + "demo: {epochs: 2, epochs: 3}\n",
        "the key 'epochs' is given twice in one mapping",
    ),
    "key given twice in a merged mapping": (
        HEAD + "defaults: &d {epochs: 2, epochs: 3}\ndemo: {<<: *d}\n",
        "line 3, column 26: not valid YAML: the key 'epochs' is given twice in one mapping",
    ),
    "merged twice": (
        HEAD + "defaults: &d {epochs: 2}\ndemo: {<<: *d, <<: *d}\n",
        "the key '<<' is given twice in one mapping",
    ),
    "key that is no word": (HEAD + "trials: {1: {}}\n", "a key must be a word, got 1"),
    "key that is a list": (HEAD + "trials: {? [a] : {}}\n", "a key must be a word, got a list or a mapping"),
    # the top level
    "unknown key": (
        HEAD + "trails: {}\n",
        ": unknown key 'trails'. Did you mean 'trials' or 'trackers'? Known keys: name, description",
    ),
    "parameters at the top": (
        HEAD + "parameters: {optimizer: {choices: [adam]}}\n",
        ": unknown key 'parameters'. It belongs under 'search:'. Known keys: name, description",
    ),
    "key of several sections": (
        HEAD + "num_trials: 3\n",
        ": unknown key 'num_trials'. It belongs under 'search:' or under 'search.demo:'.",
    ),
    "field at the top": (HEAD + "epochs: 3\n", ": unknown key 'epochs'. It belongs under 'defaults:' here."),
    "field of a trial beside its config": (
        HEAD + "trials: {one: {decoder: unet}}\n",
        ": trials.one: unknown key 'decoder'. It belongs under 'config:' here. Known keys: description",
    ),
    "short name beside a trial's config": (
        HEAD + "trials: {one: {lr: 0.1}}\n",
        ": trials.one: unknown key 'lr'. Did you mean 'learning_rate'? It belongs under 'config:' here.",
    ),
    "field of a search beside its parameters": (
        SEARCH + "decoder: {choices: [unet]}}\n",
        ": search: unknown key 'decoder'. It belongs under 'parameters:' here.",
    ),
    "short name": (ONE + "defaults: {lr: 0.1}\n", ": defaults: unknown key 'lr'. Did you mean 'learning_rate'? Known"),
    "key of the file among fields": (
        ONE + "defaults: {trackers: []}\n",
        ": defaults: unknown key 'trackers'. It belongs at the top of the file. Known keys: epochs",
    ),
    "no name": ("description: d\n", ": name: must be given."),
    "bad name": ("name: My Space\ndescription: d\n", ": name: must be lower-case letters, digits"),
    "no description": ("name: x\n", ": description: must be given."),
    "empty description": ("name: x\ndescription: ' '\n", ": description: string should have at least 1 character"),
    "nothing to run": (HEAD, ": has nothing to run; give 'trials', 'include' or 'search'."),
    "seed twice": (ONE + "seeds: [0, 0]\n", ": seeds: every seed must be given once, got [0, 0]."),
    "no seed": (ONE + "seeds: []\n", ": seeds: must not be empty, got []."),
    "negative seed": (ONE + "seeds: [0, -1]\n", ": seeds.1: input should be greater than or equal to 0, got -1."),
    "seed is a word": (ONE + "seeds: [a]\n", ": seeds.0: input should be a valid integer, got 'a'."),
    "seed is true": (ONE + "seeds: [true]\n", ": seeds.0: input should be a valid integer, got True."),
    "seeds is a number": (ONE + "seeds: 3\n", ": seeds: must be a list, got 3; write [3]."),
    "too many seeds": (ONE + f"seeds: {list(range(10_001))}\n", ": seeds: must have at most 10000 entries, got 10001."),
    "quoted seed": (ONE + "seeds: ['1']\n", ": seeds.0: input should be a valid integer, got '1'."),
    "empty plugin": (ONE + "plugins: ['']\n", ": plugins: must be a list of Python files or modules, got ['']."),
    "blank note": (ONE + "notes: [' ']\n", ": notes.0: string should have at least 1 character"),
    "name with a blank": ("name: 'x '\ndescription: d\ntrials: {one: {}}\n", ": name: must be lower-case letters"),
    # fields of configurations
    "unknown default": (
        ONE + "defaults: {optimiser: adam}\n",
        ": defaults: unknown key 'optimiser'. Did you mean 'optimizer'",
    ),
    "wrong default": (
        ONE + "defaults: {epochs: 0}\n",
        ": defaults.epochs: input should be greater than or equal to 1, got 0.",
    ),
    "defaults is a list": (ONE + "defaults: [1]\n", ": defaults: must be a mapping (key: value), got [1]."),
    "quoted number": (
        ONE + "defaults: {learning_rate: '0.1'}\n",
        ": defaults.learning_rate: input should be a valid number, got '0.1'.",
    ),
    "quoted whole number": (
        ONE + "demo: {epochs: '2'}\n",
        ": demo.epochs: input should be a valid integer, got '2'.",
    ),
    "step of the policy": (
        trial(augmentation="medium+noise"),
        ": trials.one.config.augmentation: the policy 'medium' has the step 'noise' already",
    ),
    "step twice": (trial(augmentation="none+noise+blur+noise"), "the step 'noise' is named twice"),
    "seed in defaults": (ONE + "defaults: {seed: 1}\n", ": defaults.seed: must not be given here; the space's 'seeds'"),
    "unknown demo field": (ONE + "demo: {epoch: 2}\n", ": demo: unknown key 'epoch'. Did you mean 'epochs'"),
    "wrong demo field": (ONE + "demo: {decoder: fpm}\n", ": demo.decoder: should be one of "),
    "demo field is true": (ONE + "demo: {epochs: true}\n", ": demo.epochs: should be a whole number, got True."),
    "demo contradicts a trial": (
        HEAD + "trials: {one: {config: {freeze: epochs, freeze_epochs: 5}}}\ndemo: {epochs: 3}\n",
        ": trials.one in the demo profile: freeze_epochs is 5 with epochs: 3; it must be below epochs",
    ),
    "unknown demo field of a trial": (
        HEAD + "trials: {one: {demo: {epoch: 2}}}\n",
        ": trials.one.demo: unknown key 'epoch'. Did you mean 'epochs'",
    ),
    "demo of a trial contradicts it": (
        HEAD + "trials: {one: {config: {freeze: epochs, freeze_epochs: 5}, demo: {epochs: 3}}}\n",
        ": trials.one in the demo profile: freeze_epochs is 5 with epochs: 3; it must be below epochs",
    ),
    # named trials
    "trials is a list": (HEAD + "trials: [one]\n", ": trials: must be a mapping (key: value), got ['one']."),
    "trial is a word": (HEAD + "trials: {one: unet}\n", ": trials.one: must be a mapping (key: value), got 'unet'."),
    "bad trial name": (HEAD + "trials: {'a/b': {}}\n", "must be lower-case letters, digits"),
    "reserved name of the final stage": (
        HEAD + "trials: {final-1: {}}\n",
        ": trials.final-1: must not begin with 'final-', as trials of the final stage do.",
    ),
    "reserved trial name": (HEAD + "trials: {search-1: {}}\n", ": trials.search-1: must not begin with 'search-'"),
    "unknown trial key": (
        HEAD + "trials: {one: {configuration: {}}}\n",
        ": trials.one: unknown key 'configuration'. Did you mean 'config' or 'description'? Known keys: description",
    ),
    "baseline is a word": (
        HEAD + "trials: {one: {baseline: 'yes'}}\n",
        ": trials.one.baseline: must be true or false, got 'yes'.",
    ),
    "published without source": (
        HEAD + "trials: {one: {published: {iou: 0.5}}}\n",
        ": trials.one.published.source: must be given.",
    ),
    "published out of range": (
        HEAD + "trials: {one: {published: {iou: 54.26, source: s}}}\n",
        ": trials.one.published.iou: input should be less than or equal to 1, got 54.26.",
    ),
    "unknown field": (trial(drop_out=0.1), ": trials.one.config: unknown key 'drop_out'."),
    "wrong field": (
        trial(image_size=100),
        ": trials.one.config.image_size: input should be a multiple of 32, got 100.",
    ),
    "contradiction": (trial(freeze="all", freeze_stages=2), ": trials.one.config: freeze_stages is 2 with freeze: all"),
    # includes
    "unknown include": (
        HEAD + "include: [basline]\n",
        ": include: there is no search space 'basline'. Did you mean 'baseline'",
    ),
    "missing include": (HEAD + "include: [./other.yaml]\n", "other.yaml: cannot be read: No such file or directory."),
    "include is a word": (HEAD + "include: baseline\n", ": include: must be a list, got 'baseline'; write [baseline]."),
    "included name": (
        HEAD + "include: [baseline]\ntrials: {unet-b0: {}}\n",
        ": trials.unet-b0: an included space has a trial of this name; choose another.",
    ),
    # the search
    "no parameters": (HEAD + "search: {num_trials: 3}\n", ": search.parameters: must be given."),
    "empty parameters": (
        HEAD + "search: {parameters: {}}\n",
        ": search.parameters: must not be empty, got {}.",
    ),
    "unknown search key": (
        HEAD + "search: {num_trails: 3}\n",
        ": search: unknown key 'num_trails'. Did you mean 'num_trials'",
    ),
    "no trials": (
        HEAD + "search: {num_trials: 0}\n",
        ": search.num_trials: input should be greater than or equal to 1, got 0.",
    ),
    "half a trial": (HEAD + "search: {num_trials: 0.5}\n", ": search.num_trials: input should be a valid integer"),
    "unknown searcher key": (
        SEARCH + "searcher: {sede: 1}}\n",
        ": search.searcher: unknown key 'sede'. Did you mean 'seed'",
    ),
    "reduction factor": (
        SEARCH + "scheduler: {reduction_factor: 1}}\n",
        ": search.scheduler.reduction_factor: input should be greater than 1, got 1.",
    ),
    "outlook": (
        SEARCH + "scheduler: {outlook_after: -1}}\n",
        ": search.scheduler.outlook_after: input should be greater than or equal to 0, got -1.",
    ),
    "grace period": (
        SEARCH + "scheduler: {grace_period: 0}}\n",
        ": search.scheduler.grace_period: input should be",
    ),
    "final top": (SEARCH + "final: {top: -1}}\n", ": search.final.top: input should be greater than or equal to 0"),
    "final seeds": (
        SEARCH + "final: {seeds: 0}}\n",
        ": search.final.seeds: input should be greater than or equal to 1",
    ),
    "unknown final key": (SEARCH + "final: {seed: 1}}\n", ": search.final: unknown key 'seed'. Did you mean 'seeds'"),
    "no fidelity": (SEARCH + "fidelity: {}}\n", ": search.fidelity: must have one of image_size, train_share, epochs"),
    "empty fidelity": (
        SEARCH + "fidelity: {epochs: }}\n",
        ": search.fidelity: must have one of image_size, train_share, epochs",
    ),
    "search demo": (
        SEARCH + "demo: {epochs: 3}}\n",
        ": search.demo: unknown key 'epochs'. It belongs in a configuration, such as 'defaults:'.",
    ),
    # parameters
    "unknown parameter": (
        parameters(learning_rat={"float": [0.1, 0.2]}),
        ": search.parameters: unknown key 'learning_rat'. Did you mean 'learning_rate'",
    ),
    "unknown key of a parameter": (
        parameters(learning_rate={"floats": [0.1, 0.2]}),
        ": search.parameters.learning_rate: unknown key 'floats'. Did you mean 'float'? Known keys: float, int",
    ),
    "epochs searched": (
        parameters(epochs={"int": [1, 3]}),
        ": search.parameters.epochs: cannot be searched; it is the full budget of every trial; set it in 'defaults'.",
    ),
    "seed searched": (parameters(seed={"int": [1, 3]}), ": search.parameters.seed: cannot be searched; "),
    "no kind": (
        parameters(learning_rate={"log": True}),
        ": search.parameters.learning_rate: must have 'float' or 'choices', got none of them.",
    ),
    "two kinds": (
        parameters(learning_rate={"float": [0.1, 0.2], "choices": [0.1]}),
        ": search.parameters.learning_rate: must have 'float' or 'choices', got float and choices.",
    ),
    "range of words": (
        parameters(encoder={"int": [1, 2]}),
        ": search.parameters.encoder: must have 'choices', got int.",
    ),
    "float range of an integer": (
        parameters(batch_size={"float": [2, 4]}),
        ": search.parameters.batch_size: must have 'int' or 'choices', got float.",
    ),
    "one end": (
        parameters(learning_rate={"float": [0.1]}),
        ": search.parameters.learning_rate.float: must be [lowest, highest], got [0.1].",
    ),
    "ends swapped": (
        parameters(learning_rate={"float": [0.2, 0.1]}),
        ": search.parameters.learning_rate.float: the lowest must be below the highest, got [0.2, 0.1]",
    ),
    "end not allowed": (
        parameters(decoder_dropout={"float": [0.0, 1.0]}),
        ": search.parameters.decoder_dropout.float: input should be less than 1, got 1.0.",
    ),
    "end is a word": (
        parameters(learning_rate={"float": ["low", 0.1]}),
        ": search.parameters.learning_rate.float: input should be a valid number",
    ),
    "end is true": (
        parameters(head_dropout={"float": [False, 0.5]}),
        ": search.parameters.head_dropout.float: should be a number, got False.",
    ),
    "integers between are not allowed": (
        parameters(image_size={"int": [64, 256]}),
        ": search.parameters.image_size.int: only multiples of 32 are allowed; write step: 32, got none.",
    ),
    "step is not allowed": (
        parameters(image_size={"int": [64, 256], "step": 16}),
        ": search.parameters.image_size.int: only multiples of 32 are allowed; write step: 32, got 16.",
    ),
    "log of zero": (
        parameters(weight_decay={"float": [0.0, 0.1], "log": True}),
        ": search.parameters.weight_decay.float: the lowest must be above 0 with 'log', got 0.0.",
    ),
    "log and step": (
        parameters(learning_rate={"float": [0.1, 0.2], "log": True, "step": 0.1}),
        ": search.parameters.learning_rate.float: 'log' and 'step' cannot go together.",
    ),
    "uneven step": (
        parameters(head_dropout={"float": [0.0, 0.5], "step": 0.2}),
        ": search.parameters.head_dropout.float: the highest must lie whole steps above the lowest",
    ),
    "half a step": (
        parameters(batch_size={"int": [2, 4], "step": 0.5}),
        ": search.parameters.batch_size.int: 'step' must be a whole number, got 0.5.",
    ),
    "step of zero": (
        parameters(batch_size={"int": [2, 4], "step": 0}),
        ": search.parameters.batch_size.step: input should be greater than 0, got 0.",
    ),
    "wrong choice": (
        parameters(optimizer={"choices": ["adam", "lion"]}),
        ": search.parameters.optimizer.choices: input should be 'adam', 'adamw' or 'sgd', got 'lion'.",
    ),
    "choice twice": (
        parameters(batch_size={"choices": [8, 8]}),
        ": search.parameters.batch_size.choices: every value must be given once, got [8, 8].",
    ),
    "no choice": (
        parameters(optimizer={"choices": []}),
        ": search.parameters.optimizer.choices: must not be empty, got [].",
    ),
    "choice is a list": (
        parameters(encoder={"choices": [["resnet34"]]}),
        ": search.parameters.encoder.choices: input should be a valid string, got ['resnet34'].",
    ),
    "step of choices": (
        parameters(batch_size={"choices": [8, 16], "step": 8}),
        ": search.parameters.batch_size: 'log' and 'step' go with a range only, not with 'choices'.",
    ),
    "log of choices": (
        parameters(batch_size={"choices": [8, 16], "log": True}),
        ": search.parameters.batch_size: 'log' and 'step' go with a range only, not with 'choices'.",
    ),
    "too many choices": (
        parameters(learning_rate={"choices": [n / 1000 for n in range(1, 1002)]}),
        ": search.parameters.learning_rate.choices: must have at most 1000 entries, got 1001.",
    ),
    "quoted choice": (
        parameters(batch_size={"choices": [8, "16"]}),
        ": search.parameters.batch_size.choices: input should be a valid integer, got '16'.",
    ),
    "quoted end": (
        parameters(learning_rate={"float": ["0.1", 0.2]}),
        ": search.parameters.learning_rate.float: input should be a valid number, got '0.1'.",
    ),
    # conditions
    "parent not searched": (
        parameters(weight_decay={"float": [0.1, 0.2], "when": {"optimizer": ["adamw"]}}),
        ": search.parameters.weight_decay.when: 'optimizer' is not an earlier parameter with choices.",
    ),
    "parent later": (
        parameters(
            weight_decay={"float": [0.1, 0.2], "when": {"optimizer": ["adamw"]}},
            optimizer={"choices": ["adam", "adamw"]},
        ),
        ": search.parameters.weight_decay.when: 'optimizer' is not an earlier parameter with choices.",
    ),
    "parent misspelt": (
        parameters(
            optimizer={"choices": ["adam", "adamw"]},
            weight_decay={"float": [0.1, 0.2], "when": {"optimiser": ["adamw"]}},
        ),
        "'optimiser' is not an earlier parameter with choices. Did you mean 'optimizer'? "
        "Those before 'weight_decay': optimizer.",
    ),
    "parent is a range": (
        parameters(
            head_dropout={"float": [0.1, 0.2]}, decoder_dropout={"float": [0.1, 0.2], "when": {"head_dropout": [0.1]}}
        ),
        ": search.parameters.decoder_dropout.when: 'head_dropout' is not an earlier parameter with choices.",
    ),
    "value is no choice": (
        parameters(
            optimizer={"choices": ["adam", "adamw"]},
            weight_decay={"float": [0.1, 0.2], "when": {"optimizer": ["adamv"]}},
        ),
        ": search.parameters.weight_decay.when.optimizer: must be among its choices adam, adamw, got 'adamv'. Did you",
    ),
    "no value": (
        parameters(
            optimizer={"choices": ["adam", "adamw"]}, weight_decay={"float": [0.1, 0.2], "when": {"optimizer": []}}
        ),
        ": search.parameters.weight_decay.when.optimizer: must list at least one of adam, adamw.",
    ),
    "condition is a word": (
        parameters(
            optimizer={"choices": ["adam", "adamw"]}, weight_decay={"float": [0.1, 0.2], "when": {"optimizer": "adamw"}}
        ),
        ": search.parameters.weight_decay.when.optimizer: must be a list, got 'adamw'; write [adamw].",
    ),
    # configurations that the parameters would make
    "mode without its count": (
        parameters(freeze={"choices": ["none", "stages"]}),
        ": search: parameters.freeze at 'stages': freeze_stages is 0 with freeze: stages",
    ),
    "count without its mode": (
        parameters(freeze={"choices": ["none", "stages"]}, freeze_stages={"int": [1, 2]}),
        ": search: parameters.freeze_stages: has no effect with freeze: none, so that equal configurations would be "
        "ranked as different ones; draw it only where it is used: when: {freeze: [stages]}.",
    ),
    "count before its mode": (
        parameters(freeze_stages={"int": [1, 2]}, freeze={"choices": ["none", "stages"]}),
        "; search freeze before it and draw it only where it is used: when: {freeze: [stages]}.",
    ),
    "average that is not kept": (
        parameters(ema_decay={"float": [0.9, 0.99]}),
        ": search: parameters.ema_decay: has no effect with weight_average: none, so that equal configurations would "
        "be ranked as different ones; set weight_average: ema in 'defaults', or search weight_average before it and "
        "draw it only where it is used: when: {weight_average: [ema]}.",
    ),
    "start of an average that is not kept": (
        parameters(swa_start={"float": [0.5, 0.9]}),
        ": search: parameters.swa_start: has no effect with weight_average: none",
    ),
    "momentum of Adam": (
        parameters(optimizer={"choices": ["adam", "sgd"]}, momentum={"float": [0.5, 0.9]}),
        ": search: parameters.momentum: has no effect with optimizer: adam, ",
    ),
    "strength of no augmentation": (
        parameters(augmentation={"choices": ["none", "medium", "strong"]}, augmentation_strength={"float": [0.5, 1.5]}),
        "parameters.augmentation_strength: has no effect with augmentation: none, so that equal configurations would "
        "be ranked as different ones; draw it only where it is used: when: {augmentation: [medium, strong]}.",
    ),
    "parameter of another loss": (
        parameters(tversky_alpha={"float": [0.1, 0.5]}),
        ": search: parameters.tversky_alpha: has no effect with loss: dice-bce, so that equal configurations would be "
        "ranked as different ones; set loss: tversky in 'defaults', or search loss before it",
    ),
    "weight of another loss": (
        parameters(loss={"choices": ["dice-bce", "focal"]}, bce_weight={"float": [0.1, 0.5]}),
        "parameters.bce_weight: has no effect with loss: focal, ",
    ),
    "count in another mode": (
        parameters(
            freeze={"choices": ["all", "stages"]}, freeze_stages={"int": [1, 2], "when": {"freeze": ["all", "stages"]}}
        ),
        "freeze_stages: has no effect with freeze: all, ",
    ),
    "thaws after the budget": (
        parameters(
            freeze={"choices": ["none", "epochs"]}, freeze_epochs={"int": [1, 35], "when": {"freeze": ["epochs"]}}
        ),
        ": search: parameters.freeze at 'epochs': freeze_epochs is 35 with epochs: 35",
    ),
    "no loss": (
        parameters(dice_weight={"float": [0, 1]}, bce_weight={"choices": [1, 0]}),
        "dice_weight and bce_weight are both 0",
    ),
    "no mistake weighs": (
        parameters(
            loss={"choices": ["tversky"]},
            tversky_alpha={"float": [0, 1], "when": {"loss": ["tversky"]}},
            tversky_beta={"float": [0, 1], "when": {"loss": ["tversky"]}},
        ),
        ": search: parameters.loss at 'tversky': tversky_alpha and tversky_beta are both 0",
    ),
}


# What never reaches a schema: it cannot be loaded.
NOT_YAML = {
    "not YAML",
    "a tab",
    "two documents",
    "a Python object",
    "a control character",
    "key given twice",
    "nested key given twice",
    "key given twice in a merged mapping",
    "merged twice",
    "key that is no word",
    "key that is a list",
}


def write(folder: Path, text: str) -> str:
    path = folder / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)
