# irisbench in a container: docker build -t irisbench . && docker run --rm irisbench
FROM debian:12
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git python3-venv default-jre-headless \
    && rm -rf /var/lib/apt/lists/* && useradd --create-home student
USER student
COPY --chown=student . /home/student/irisbench
WORKDIR /home/student/irisbench
RUN ./nox -s benchmark --install-only
CMD ["./nox", "-s", "benchmark"]
