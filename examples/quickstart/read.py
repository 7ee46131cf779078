"""Shows what the pipeline has written."""

from headwater import Application

app = Application(name="reader")
print(app.read_topic("fast").to_pandas())
