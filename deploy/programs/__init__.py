"""The programs of a stack that others wrote, and HAProxy's gateways: command lines and configuration."""
