"""What the author of a plugin needs: templates, a session to try it in, checks, an archive to give."""
