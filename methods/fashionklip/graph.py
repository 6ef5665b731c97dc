"""The concept graph: frequent phrases of titles, joined by is-a edges into a tree per head noun."""

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import DataError, HarnessError, suggestion
from harness.files import write_atomic
from harness.reading import read_text
from methods.fashionklip import phrases
from methods.fashionklip.phrases import LONGEST, Chunker, head, lemma, length, within


@dataclass(frozen=True)
class Concept:
    """A phrase that is frequent, or the bare noun that such phrases have as their head."""

    concept_id: int
    phrase: str
    parent: int | None
    """Id of what this is a kind of; none for a bare noun."""
    count: int
    """Products whose titles have the phrase, or one that the bare noun heads."""

    @property
    def head(self) -> str:
        """The head noun, by which trees are told apart."""
        return head(self.phrase)


class Graph:
    """Concepts with is-a edges: a forest, a tree per head noun with the bare noun as its root.

    Singular and plural of a head noun are one, as are grey and gray (`phrases.lemma`); a concept
    is spelled as the first title that has it does. A concept's parent is the closest of its
    sub-phrases that are concepts (`phrases.within`). The phrases that are not frequent yet are
    counted too: the graph that has grown by `extend` has the phrases, counts and edges of one
    built from all titles at once; only the ids differ.

    Args:
        chunker: how titles become phrases.
        threshold: products that must have a phrase for it to become a concept, >= 1.
    """

    def __init__(self, chunker: Chunker, threshold: int) -> None:
        if threshold < 1:
            raise HarnessError(f"threshold {threshold}: a concept is of 1 product or more.")
        self.chunker = chunker
        self.threshold = threshold
        self.concepts: dict[int, Concept] = {}
        """By their ids."""
        self.rare: Counter[str] = Counter()
        """Phrases below the threshold, and bare nouns, with their counts."""
        self._ids: dict[str, int] = {}
        """Of the concepts, by their lemmas."""
        self._spelled: dict[str, str] = {}
        """Lemma -> phrase, of concepts and of rare phrases."""

    @classmethod
    def build(
        cls,
        titles: Sequence[str],
        chunker: Chunker,
        threshold: int,
        products: Sequence[Hashable] | None = None,
    ) -> "Graph":
        """A graph of titles, the titles of a product counted once: see `extend`."""
        graph = cls(chunker, threshold)
        graph.extend(titles, products)
        return graph

    def extend(
        self, titles: Sequence[str], products: Sequence[Hashable] | None = None
    ) -> list[int]:
        """Count more titles; phrases that have become frequent are added.

        Concepts keep their ids, and their parents unless a new concept is a closer one.

        Args:
            products: of each title. A phrase counts once for a product however many of its titles
                have it, so that a product of many colours does not make its own name frequent.
                Without them each title is a product's own. One of an earlier call counts anew.

        Returns:
            The ids of the new concepts.
        """
        owners = range(len(titles)) if products is None else products
        for form, count in self._counted(titles, owners).items():
            known = self._ids.get(form)
            if known is None:
                self.rare[self._spelled[form]] += count
            else:
                concept = self.concepts[known]
                self.concepts[known] = replace(concept, count=concept.count + count)
        return self._add({each for each, count in self.rare.items() if count >= self.threshold})

    def concepts_of(self, title: str, most: int) -> list[int]:
        """Ids of the concepts that a title has, most specific first.

        Args:
            most: how many at the most (FashionKLIP has 5 slots).
        """
        forms = [form for form in self._forms(title) if form in self._ids]
        return [self._ids[form] for form in sorted(forms, key=length, reverse=True)[:most]]

    def find(self, phrase: str) -> Concept:
        """The concept of a phrase, singular or plural; raises `HarnessError` where none is."""
        form = lemma(phrase)
        for concept in self.concepts.values():
            if lemma(concept.phrase) == form:
                return concept
        near = suggestion(phrase, (each.phrase for each in self.concepts.values()))
        raise HarnessError(f"no concept '{phrase}'. {near}".rstrip())

    def children(self) -> dict[int | None, list[Concept]]:
        """Id -> the concepts that are directly of its kind, most frequent first; None -> roots."""
        found: dict[int | None, list[Concept]] = defaultdict(list)
        for concept in sorted(self.concepts.values(), key=lambda each: (-each.count, each.phrase)):
            found[concept.parent].append(concept)
        return dict(found)

    def write(self, path: Path) -> None:
        """Write JSON lines for people to read and edit.

        First the chunker and the threshold, then concepts by id, then rare phrases: without an id.
        """
        rows: list[Mapping[str, object]] = [
            {"chunker": self.chunker.name, "threshold": self.threshold},
            *(vars(self.concepts[concept_id]) for concept_id in sorted(self.concepts)),
            *(_rare_row(phrase, self.rare[phrase]) for phrase in sorted(self.rare)),
        ]
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_atomic(path, "".join(lines))

    @classmethod
    def read(cls, path: Path) -> "Graph":
        """The graph of a file; raises `DataError` with the file and line of what is wrong."""
        lines = _lines(path)
        place, first = next(lines, (f"{path} line 1", ""))
        settings = _parsed(_Settings, first, place)
        graph = cls(phrases.chunker(settings.chunker), settings.threshold)
        places = {}
        for place, line in lines:
            read = _parsed(_Line, line, place)
            graph._take(read, place)
            if read.concept_id is not None:
                places[read.concept_id] = place
        for concept_id, place in places.items():
            graph._check_parent(graph.concepts[concept_id], place)
        return graph

    def _forms(self, title: str) -> dict[str, str]:
        """Lemmas of a title's phrases and of their head nouns, with how the title spells them."""
        own = self.chunker.phrases(title)
        found: dict[str, str] = {}
        for phrase in (*own, *map(head, own)):
            found.setdefault(lemma(phrase), phrase)
        return found

    def _counted(self, titles: Sequence[str], products: Sequence[Hashable]) -> Counter[str]:
        """Lemmas -> how many products have them; a new one is spelled as here from now on."""
        of_product: dict[Hashable, set[str]] = defaultdict(set)
        for title, product in zip(titles, products, strict=True):
            for form, phrase in self._forms(title).items():
                self._spelled.setdefault(form, phrase)
                of_product[product].add(form)
        return Counter(form for forms in of_product.values() for form in forms)

    def _add(self, frequent: set[str]) -> list[int]:
        """Make concepts of rare phrases and of their head nouns, parents before children."""
        nouns = {lemma(head(phrase)) for phrase in frequent}
        wanted = frequent | {self._spelled[noun] for noun in nouns if noun not in self._ids}
        ordered = sorted(wanted, key=lambda each: (length(each), -self.rare[each], each))
        first = max(self.concepts, default=-1) + 1
        new = {lemma(phrase): first + index for index, phrase in enumerate(ordered)}
        old = list(self.concepts.values())
        self._ids.update(new)
        for phrase, (form, concept_id) in zip(ordered, new.items(), strict=True):
            parent = next((self._ids[part] for part in within(form) if part in self._ids), None)
            self.concepts[concept_id] = Concept(concept_id, phrase, parent, self.rare[phrase])
            del self.rare[phrase]
        self._bring_closer(old, new)
        return list(new.values())

    def _bring_closer(self, concepts: Iterable[Concept], new: Mapping[str, int]) -> None:
        """Give concepts a new parent where that is closer than the one that they have."""
        heads = set(map(head, new))
        for concept in concepts:
            form = lemma(concept.phrase)
            if concept.parent is None or head(form) not in heads:
                continue
            present = lemma(self.concepts[concept.parent].phrase)
            for part in within(form):
                if part == present:
                    break
                if part in new:
                    self.concepts[concept.concept_id] = replace(concept, parent=new[part])
                    break

    def _take(self, line: "_Line", place: str) -> None:
        """Add a concept or a rare phrase that was read; a parent may come later."""
        phrase, words = line.phrase, line.phrase.split()
        if phrase != " ".join(words).lower() or not 1 <= len(words) <= LONGEST:
            raise DataError(f"{place}: '{phrase}' is not 1 to {LONGEST} words in lower case.")
        known = self._spelled.setdefault(lemma(phrase), phrase)
        if known in self.rare or lemma(phrase) in self._ids:
            other = "" if known == phrase else f", as '{known}'"
            raise DataError(f"{place}: phrase '{phrase}' stands twice{other}.")
        if line.concept_id is None:
            if line.parent is not None:
                raise DataError(f"{place}: '{phrase}' has a parent and no concept_id.")
            self.rare[phrase] = line.count
            return
        if line.concept_id in self.concepts:
            raise DataError(f"{place}: concept_id {line.concept_id} stands twice.")
        self.concepts[line.concept_id] = Concept(**line.model_dump())
        self._ids[lemma(phrase)] = line.concept_id

    def _check_parent(self, concept: Concept, place: str) -> None:
        """Raise `DataError` unless a concept's parent is a sub-phrase: so there is no cycle."""
        if concept.parent is None:
            if concept.phrase != concept.head:
                raise DataError(
                    f"{place}: '{concept.phrase}' has no parent, which only a bare noun like "
                    f"'{concept.head}' may lack."
                )
            return
        parent = self.concepts.get(concept.parent)
        if parent is None:
            raise DataError(f"{place}: parent {concept.parent} is no concept_id of this file.")
        form, closer = lemma(concept.phrase), lemma(parent.phrase)
        if head(closer) != head(form):
            raise DataError(
                f"{place}: parent '{parent.phrase}' has another head noun than '{concept.phrase}'."
            )
        if closer not in within(form):
            raise DataError(
                f"{place}: parent '{parent.phrase}' is no part of '{concept.phrase}' that could "
                "stand for it."
            )


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    chunker: str
    threshold: int = Field(ge=1)


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    concept_id: int | None = Field(ge=0)
    phrase: str
    parent: int | None
    count: int = Field(ge=0)


P = TypeVar("P", bound=BaseModel)


def _rare_row(phrase: str, count: int) -> Mapping[str, object]:
    return {"concept_id": None, "phrase": phrase, "parent": None, "count": count}


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a file with their places; empty ones are passed over."""
    try:
        text = read_text(path, "utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8. Save it as UTF-8.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path} line {number}", line


def _parsed(kind: type[P], text: str, place: str) -> P:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        if problem["type"] == "json_invalid":
            raise DataError(f"{place}: not JSON, or cut off. Mend or delete it.") from None
        name = ".".join(map(str, problem["loc"]))
        message = f"'{name}': {problem['msg']}" if name else problem["msg"]
        raise DataError(f"{place}: {message}.") from None
