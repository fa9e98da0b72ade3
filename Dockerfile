# Run irisbench in a container: docker build -t irisbench . && docker run -it irisbench
# Add arguments after the image: docker run -it irisbench ./nox -s benchmark -- --profile full
FROM debian:12
RUN apt-get update \
    && apt-get install -y --no-install-recommends git python3-venv openjdk-17-jre-headless ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 student
USER student
RUN mkdir /home/student/irisbench
WORKDIR /home/student/irisbench
COPY --chown=student . .
RUN ./nox -s benchmark --install-only
CMD ["./nox", "-s", "benchmark"]
