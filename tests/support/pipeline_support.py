"""The workflow of three tasks (modules/pipeline_tasks.py) on a Conductor and a lakeFS, and workers for it."""

from __future__ import annotations

import os
import subprocess
import sys

from servers.conductor_api import fresh, simple
from start_support import MODULES, StartedWorker

MODULE = "pipeline_tasks"
TASKS = ("pipe.prepare", "pipe.count", "pipe.finish")


def surroundings(conductor, lakefs):
    """The variables that name both servers."""
    return {
        "CONDUCTOR_SERVER_URL": conductor.api_url,
        "LAKECTL_SERVER_ENDPOINT_URL": lakefs.url,
        "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": lakefs.access_key_id,
        "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": lakefs.secret_access_key,
    }


class Pipeline:
    """The workflow, on branches of one repository, in a domain of its own.

    Args:
        variables: of `surroundings`.
        directory: where its workers work.
    """

    def __init__(self, api, repository, variables, directory):
        self.api, self.repository = api, repository
        self._variables, self._directory = variables, directory
        self.domain = fresh("domain")
        self._register()
        repository.commit_files("main", {"readme.txt": b"data"})
        self.name = api.define_workflow(
            fresh("pipeline"),
            [
                simple("pipe.prepare", "prepare", self._inputs("${workflow.input.workspace}")),
                simple("pipe.count", "count", self._inputs("${prepare.output.workspace}")),
                simple("pipe.finish", "finish", self._inputs("${prepare.output.workspace}")),
            ],
        )

    def start(self, branch, *, fail_first=False):
        """Start a workflow on the head of a branch; returns its id."""
        ref = self.repository.head(branch)
        workspace = {"repository": self.repository.name, "branch": branch, "refType": "commit", "ref": ref}
        domains = dict.fromkeys(TASKS, self.domain)
        inputs = {"workspace": workspace, "fail_first": fail_first}
        return self.api.start_workflow(self.name, inputs, taskToDomain=domains)

    def worker(self, name, *options, **more):
        """A worker for it, not started yet.

        Args:
            more: variables of its environment.
        """
        variables = {**self._variables, "PERAGO_CACHE_DIR": str(self._directory / "cache"), **more}
        url = variables.pop("CONDUCTOR_SERVER_URL")
        return StartedWorker(self._directory / name, url, [MODULE], "--domain", self.domain, *options, **variables)

    def _register(self):
        environment = {**os.environ, **self._variables, "PYTHONPATH": str(MODULES)}
        command = [sys.executable, "-m", "perago", "register", MODULE]
        subprocess.run(command, cwd=self._directory, env=environment, check=True, capture_output=True)

    def _inputs(self, workspace):
        params = {"text": "${workflow.workflowId}", "fail_first": "${workflow.input.fail_first}"}
        return {"workspace": workspace, "params": params}
