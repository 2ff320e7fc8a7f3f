"""What happens to a package on a machine: stories whose steps are promises."""

from stories.deb import a_new_machine
from stories.rpm import of_rpm
from stories.sleeping_beauty import from_sleeping_beauty

STORIES = [a_new_machine, from_sleeping_beauty, of_rpm]
