"""A writer of a race that publishes as one would without a fence, to show that the race would notice.

usage: program_race_naive.py merge|reset REPOSITORY DIRECTORY NUMBER

merge: a plain merge, if the head is the expected one just before. reset: as before, and then the branch is set to what
was staged.
"""

import sys
import uuid

from race_writer import Lost, serve, server

from servers.lakefs_api import LakeFSApi, LakeFSRepository


class NaiveWriter:
    def __init__(self, repository: LakeFSRepository, number: int, way: str) -> None:
        self._repository = repository
        self._number = number
        self._way = way

    def stage(self, head: str, turn: int) -> str:
        self._head = head
        branch = self._repository.branch(f"staging-{uuid.uuid4().hex}", head)
        self._staged = self._repository.commit_files(branch, {f"writer-{self._number}": str(turn).encode()})
        return self._staged

    def publish(self) -> str:
        if self._repository.head("main") != self._head:
            raise Lost
        if self._way == "reset":
            self._repository.expect("PUT", "/branches/main/hard_reset", query={"ref": self._staged})
            return self._staged
        answer = self._repository.merge(self._staged, "main")
        if answer.status != 200:
            raise RuntimeError(answer.message)
        return answer.json()["reference"]


def main() -> None:
    way, repository, _, number = sys.argv[1:]
    with LakeFSApi(**server()) as api:
        serve(NaiveWriter(LakeFSRepository(api, repository), int(number), way))


main()
