"""The applications. Every module of this package is one."""

from suite.startup import begin_application

begin_application()
